//! Block graphs: what is behind a drive.
//!
//! Every file is a protocol node under a format node, formats, backing and data files are named explicitly, and `backing` is null where
//! there is none: QEMU finds nothing in an image's header that could lead it elsewhere.
//!
//! QEMU opens no image by its path. It gets a descriptor for each file, in a set of its own, opened by the supervisor: the very file that was
//! looked at. QEMU's image locking works on these as on paths (tried with 7.2 and 10.0), and so do resizing, and snapshots with an overlay
//! that is handed over later. A set holds one descriptor with the access that its node has. What follows for jobs that write to a layer
//! which was opened for reading (`block-commit`): `add-fd` a writable one to its set, `blockdev-reopen` the protocol node, then `remove-fd`
//! the first one, whose locks would else stay. And whatever would write a file name into an image must be told it (`backing-file`), or the
//! name is that of a set.
//!
//! Images are opened through the host's page cache (`cache.direct=false`, flushes honoured) with `aio=threads`: that works on every file
//! system, on descriptors, and under seccomp filters that refuse io_uring.

use bundle::Problem;
use serde_json::{Map, Value, json};

use super::builder::Builder;
use super::request::{Image, Layer};
use super::result::{Access, Preparation, Subject, descriptor_set};

/// Deeper chains are not opened: QEMU would run out of descriptors, and nobody makes them on purpose.
const MAX_LAYERS: usize = 64;

/// What a graph is for.
pub(super) struct Use<'u> {
    /// Key path for findings.
    pub key: &'u str,
    /// First part of the node names; at most 25 characters.
    pub name: &'u str,
    /// Whether the guest may write.
    pub writable: bool,
    pub subject: Subject,
}

/// What was added for an image.
#[derive(Default)]
pub(super) struct Graph {
    /// Its nodes, each before those that it refers to.
    pub nodes: Vec<String>,
    /// The descriptor sets of its files.
    pub sets: Vec<u32>,
}

impl Graph {
    /// The uppermost node.
    pub fn top(&self) -> &str {
        self.nodes.first().map(String::as_str).unwrap_or_default()
    }
}

/// The nodes of an image, what others refer to first.
#[derive(Default)]
struct Nodes {
    nodes: Vec<Map<String, Value>>,
    sets: Vec<u32>,
}

/// Adds the nodes of an image; `None` after a fatal finding.
pub(super) fn add(b: &mut Builder<'_>, image: &Image, wanted: &Use<'_>) -> Option<Graph> {
    let Nodes { nodes, sets } = nodes(b, image, wanted)?;
    let graph = Graph { nodes: names(&nodes), sets };
    for node in nodes {
        b.option(wanted.subject, "-blockdev", Value::Object(node).to_string());
    }
    Some(graph)
}

fn nodes(b: &mut Builder<'_>, image: &Image, wanted: &Use<'_>) -> Option<Nodes> {
    if image.layers.is_empty() || image.layers.len() > MAX_LAYERS {
        b.fatal(wanted.key, format!("an image has between 1 and {MAX_LAYERS} files, not {}", image.layers.len()));
        return None;
    }
    for layer in &image.layers {
        if !b.emulator().block_drivers.contains(&layer.driver) {
            let message = format!("the installed QEMU cannot read images of the format {}: {}", layer.driver, layer.path.display());
            b.report(Problem::fatal(wanted.key, message).with_hint("convert the image to qcow2"));
            return None;
        }
    }
    let disposable = b.request.options.disposable && wanted.writable;
    let mut added = Nodes::default();
    let mut below: Option<String> = None;
    for (depth, layer) in image.layers.iter().enumerate().rev() {
        let name = if depth == 0 && !disposable { wanted.name.to_owned() } else { format!("{}-b{depth}", wanted.name) };
        let writable = wanted.writable && depth == 0 && !disposable;
        let mut node = node(&layer.driver, &name, writable);
        if let Some(data) = &layer.data_file {
            let data = added.protocol(b, &Layer::file(data, "raw"), &format!("{name}-d"), writable, wanted.subject);
            node.insert("data-file".to_owned(), json!(data));
        }
        let file = added.protocol(b, layer, &format!("{name}-f"), writable, wanted.subject);
        node.insert("file".to_owned(), json!(file));
        match below.take() {
            Some(backing) => {
                node.insert("backing".to_owned(), json!(backing));
            }
            None if can_have_backing(&layer.driver) => {
                node.insert("backing".to_owned(), Value::Null);
            }
            None => {}
        }
        if writable {
            node.insert("detect-zeroes".to_owned(), json!("unmap"));
        }
        added.nodes.push(node);
        below = Some(name);
    }
    if disposable && let (Some(base), Some(first)) = (below, image.layers.first()) {
        added.overlay(b, &base, first, image.virtual_size, wanted);
    }
    Some(added)
}

impl Nodes {
    /// The throw-away layer of a disposable run.
    fn overlay(&mut self, b: &mut Builder<'_>, base: &str, below: &Layer, virtual_size: Option<u64>, wanted: &Use<'_>) {
        let path = b.request.paths.scratch.join(format!("{}.qcow2", wanted.name));
        b.out.preparations.push(Preparation::Overlay { path: path.clone(), backing: below.path.clone(), virtual_size });
        let file = self.protocol(b, &Layer::file(path, "qcow2"), &format!("{}-f", wanted.name), true, wanted.subject);
        let mut node = node("qcow2", wanted.name, true);
        node.insert("file".to_owned(), json!(file));
        node.insert("backing".to_owned(), json!(base));
        node.insert("detect-zeroes".to_owned(), json!("unmap"));
        self.nodes.push(node);
    }

    /// Adds the node that reads and writes the file of a layer; its name.
    fn protocol(&mut self, b: &mut Builder<'_>, layer: &Layer, name: &str, writable: bool, subject: Subject) -> String {
        let access = if writable { Access::ReadWrite } else { Access::Read };
        let set = b.handed_over(subject, &layer.path, access, name);
        let mut node = node(if layer.block_device { "host_device" } else { "file" }, name, writable);
        node.insert("filename".to_owned(), json!(descriptor_set(set)));
        node.insert("aio".to_owned(), json!("threads"));
        self.nodes.push(node);
        self.sets.push(set);
        name.to_owned()
    }
}

fn node(driver: &str, name: &str, writable: bool) -> Map<String, Value> {
    let mut node = Map::new();
    node.insert("driver".to_owned(), json!(driver));
    node.insert("node-name".to_owned(), json!(name));
    node.insert("read-only".to_owned(), json!(!writable));
    if writable {
        node.insert("discard".to_owned(), json!("unmap"));
    }
    node.insert("cache".to_owned(), json!({ "direct": false, "no-flush": false }));
    node
}

/// Formats whose driver takes `backing`.
pub(crate) fn can_have_backing(driver: &str) -> bool {
    matches!(driver, "qcow2" | "qcow" | "qed" | "vmdk")
}

/// The names of nodes, the last one first.
fn names(nodes: &[Map<String, Value>]) -> Vec<String> {
    nodes.iter().rev().filter_map(|node| node.get("node-name")?.as_str()).map(str::to_owned).collect()
}

/// A node of no size, for a drive that cannot be made without one.
pub(super) fn placeholder(b: &mut Builder<'_>, name: &str) -> Graph {
    let node = json!({ "driver": "null-co", "node-name": name, "size": 0, "read-zeroes": true, "read-only": false });
    b.option(Subject::Drive, "-blockdev", node.to_string());
    Graph { nodes: vec![name.to_owned()], sets: Vec::new() }
}

/// `-drive` for the few boards whose devices can only be reached by `if=`: the nodes are the same, nested.
pub(super) fn legacy(b: &mut Builder<'_>, image: &Image, wanted: &Use<'_>, interface: &str, index: usize) -> Option<Graph> {
    let Nodes { mut nodes, sets } = nodes(b, image, wanted)?;
    let graph = Graph { nodes: names(&nodes), sets };
    let mut top = nodes.pop()?;
    let mut file = nodes.pop()?;
    for node in nodes {
        b.option(wanted.subject, "-blockdev", Value::Object(node).to_string());
    }
    // `file=` would be a file name here, not a node.
    top.remove("file");
    // Only here it is on by default: QEMU would begin with a descriptor for reading, which a set for writing has not.
    for node in [&mut top, &mut file] {
        node.insert("auto-read-only".to_owned(), json!(false));
    }
    let mut value = format!("if={interface},index={index}");
    flatten(&mut value, "", top);
    flatten(&mut value, "file.", file);
    b.option(wanted.subject, "-drive", value);
    Some(graph)
}

/// Settings of a node as `-drive` writes them.
fn flatten(value: &mut String, prefix: &str, node: Map<String, Value>) {
    for (key, setting) in node {
        let setting = match setting {
            Value::String(text) => super::builder::escaped(&text),
            Value::Bool(on) => if on { "on" } else { "off" }.to_owned(),
            Value::Object(inner) => {
                flatten(value, &format!("{prefix}{key}."), inner);
                continue;
            }
            // An empty name means that there is none.
            Value::Null => String::new(),
            other => other.to_string(),
        };
        value.push_str(&format!(",{prefix}{key}={setting}"));
    }
}
