//! Block graphs: what is behind a drive.
//!
//! Every file is a protocol node under a format node, formats and backing files are named explicitly, and `backing` is null where there is
//! none: QEMU finds nothing in an image's header that could lead it elsewhere.
//!
//! Images are opened through the host's page cache (`cache.direct=false`, flushes honoured) with `aio=threads`: that works on every file
//! system, on descriptors, and under seccomp filters that refuse io_uring.

use std::path::Path;

use bundle::Problem;
use serde_json::{Map, Value, json};

use super::builder::Builder;
use super::request::{Image, Layer, Place};
use super::result::{Access, FileAccess, Preparation, Subject};

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

/// Adds the nodes of an image; the name of the uppermost, or `None` after a fatal finding.
pub(super) fn add(b: &mut Builder<'_>, image: &Image, wanted: &Use<'_>) -> Option<String> {
    let layers = graph(b, image, wanted)?;
    let top = layers.last().map(|node| text(node, "node-name"));
    for node in layers {
        b.option(wanted.subject, "-blockdev", Value::Object(node).to_string());
    }
    top
}

/// The nodes of an image, what others refer to first.
fn graph(b: &mut Builder<'_>, image: &Image, wanted: &Use<'_>) -> Option<Vec<Map<String, Value>>> {
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
    let mut nodes = Vec::new();
    let mut below: Option<String> = None;
    for (depth, layer) in image.layers.iter().enumerate().rev() {
        let name = if depth == 0 && !disposable { wanted.name.to_owned() } else { format!("{}b{depth}", wanted.name) };
        let writable = wanted.writable && depth == 0 && !disposable;
        let file = protocol(b, layer, &name, writable, wanted.subject);
        let mut node = node(&layer.driver, &name, writable);
        node.insert("file".to_owned(), json!(text(&file, "node-name")));
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
        nodes.push(file);
        nodes.push(node);
        below = Some(name);
    }
    if disposable && let (Some(base), Some(first)) = (below, image.layers.first()) {
        nodes.extend(overlay(b, &base, first, image.virtual_size, wanted));
    }
    Some(nodes)
}

/// The throw-away layer of a disposable run.
fn overlay(b: &mut Builder<'_>, base: &str, below: &Layer, virtual_size: Option<u64>, wanted: &Use<'_>) -> [Map<String, Value>; 2] {
    let path = b.request.paths.scratch.join(format!("{}.qcow2", wanted.name));
    b.out.preparations.push(Preparation::Overlay {
        path: path.clone(),
        backing: below.path.clone(),
        backing_driver: below.driver.clone(),
        virtual_size,
    });
    let layer = Layer { path, driver: "qcow2".to_owned(), place: Place::Bundle, block_device: false };
    let file = protocol(b, &layer, wanted.name, true, wanted.subject);
    let mut node = node("qcow2", wanted.name, true);
    node.insert("file".to_owned(), json!(text(&file, "node-name")));
    node.insert("backing".to_owned(), json!(base));
    node.insert("detect-zeroes".to_owned(), json!("unmap"));
    [file, node]
}

/// The node that reads and writes the file of a layer.
fn protocol(b: &mut Builder<'_>, layer: &Layer, name: &str, writable: bool, subject: Subject) -> Map<String, Value> {
    let access = if writable { Access::ReadWrite } else { Access::Read };
    let filename = match layer.place {
        Place::Bundle => {
            b.file(&layer.path, access);
            layer.path.to_string_lossy().into_owned()
        }
        Place::External => b.handed_over(subject, &layer.path, access, name),
    };
    let mut node = node(if layer.block_device { "host_device" } else { "file" }, &format!("{name}f"), writable);
    node.insert("filename".to_owned(), json!(filename));
    node.insert("aio".to_owned(), json!("threads"));
    node
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
fn can_have_backing(driver: &str) -> bool {
    matches!(driver, "qcow2" | "qcow" | "qed" | "vmdk")
}

fn text(node: &Map<String, Value>, key: &str) -> String {
    node.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// A node of no size, for a drive that cannot be made without one.
pub(super) fn placeholder(b: &mut Builder<'_>, name: &str) -> String {
    let node = json!({ "driver": "null-co", "node-name": name, "size": 0, "read-zeroes": true, "read-only": false });
    b.option(Subject::Drive, "-blockdev", node.to_string());
    name.to_owned()
}

/// `-drive` for the few boards whose devices can only be reached by `if=`: the nodes are the same, nested.
pub(super) fn legacy(b: &mut Builder<'_>, image: &Image, wanted: &Use<'_>, interface: &str, index: usize) -> Option<String> {
    let mut nodes = graph(b, image, wanted)?;
    let mut top = nodes.pop()?;
    let file = nodes.pop()?;
    let name = text(&top, "node-name");
    for node in nodes {
        b.option(wanted.subject, "-blockdev", Value::Object(node).to_string());
    }
    // `file=` would be a file name here, not a node.
    top.remove("file");
    let mut value = format!("if={interface},index={index}");
    flatten(&mut value, "", top);
    flatten(&mut value, "file.", file);
    b.option(wanted.subject, "-drive", value);
    Some(name)
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

/// A file that QEMU reads by path because it opens it outside its block layer (kernels, firmware).
pub(super) fn plain_file(b: &mut Builder<'_>, path: &Path) -> String {
    let file = FileAccess::read(path);
    if !b.out.files.contains(&file) {
        b.out.files.push(file);
    }
    path.to_string_lossy().into_owned()
}
