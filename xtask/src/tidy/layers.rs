//! Which crate may depend on which. The table here is what is enforced; a test compares the one in `ARCHITECTURE.md` with it.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result};
use cargo_metadata::{Metadata, MetadataCommand};

/// One crate of the product.
struct Layer {
    name: &'static str,
    folder: &'static str,
    /// Crates, or folders of crates, that it may depend on; `all of the above` are the rows before it.
    may: &'static [&'static str],
}

/// The layers from the bottom up, as in `ARCHITECTURE.md`; then the framework that stands beside them.
const LAYERS: &[Layer] = &[
    Layer { name: "sandbox", folder: "support/sandbox", may: &[] },
    Layer { name: "beneath", folder: "support/beneath", may: &[] },
    Layer { name: "atomic_file", folder: "support/atomic_file", may: &[] },
    Layer { name: "disk_image", folder: "support/disk_image", may: &["sandbox", "beneath", "atomic_file"] },
    Layer { name: "keymap", folder: "support/keymap", may: &[] },
    Layer { name: "qmp", folder: "protocols/qmp", may: &["support"] },
    Layer { name: "bundle", folder: "bundle", may: &["support"] },
    Layer { name: "machine", folder: "machine", may: &["support"] },
    Layer { name: "qemu_display", folder: "protocols/qemu-display", may: &["machine", "support"] },
    Layer { name: "spice", folder: "protocols/spice", may: &["machine", "support"] },
    Layer { name: "backend_qemu", folder: "backends/qemu", may: &["machine", "bundle", "protocols", "support"] },
    Layer { name: "supervisor_api", folder: "supervisor/api", may: &["machine", "qemu_display", "support"] },
    Layer { name: "exchange", folder: "supervisor/exchange", may: &["supervisor_api", "spice", "machine", "support"] },
    Layer { name: "supervisor", folder: "supervisor/server", may: &["all of the above"] },
    Layer { name: "library", folder: "library", may: &["supervisor_api", "machine", "bundle", "support"] },
    Layer { name: "viewport", folder: "apps/viewport", may: &["machine", "support"] },
    Layer { name: "terminal", folder: "apps/terminal", may: &[] },
    Layer { name: "view_model", folder: "apps/view_model", may: &["library", "supervisor_api", "machine", "bundle", "support"] },
    Layer {
        name: "desktop",
        folder: "apps/desktop",
        may: &["viewport", "terminal", "view_model", "library", "supervisor_api", "machine", "bundle", "support"],
    },
    Layer { name: "viv", folder: "apps/viv", may: &["library", "supervisor_api", "machine", "bundle", "support"] },
    Layer { name: "confinement", folder: "virtualization/confinement", may: &[] },
    Layer { name: "hv", folder: "virtualization/hv", may: &[] },
    Layer { name: "boot", folder: "virtualization/boot", may: &[] },
    Layer { name: "devices", folder: "virtualization/devices", may: &["confinement", "hv"] },
    Layer { name: "virtualization", folder: "virtualization/framework", may: &["confinement", "hv", "boot", "devices"] },
];

/// Crates beside the product: they may depend on all of it, and nothing depends on them.
const BESIDE: &[&str] = &["xtask", "acceptance"];

/// Compares the workspace's dependencies with the layers.
pub fn check(root: &Path) -> Result<Vec<String>> {
    let metadata = MetadataCommand::new()
        .manifest_path(root.join("Cargo.toml"))
        .no_deps()
        .exec()
        .context("Could not read the workspace with cargo metadata")?;
    let mut problems = dependencies(&metadata);
    let folders: BTreeSet<&str> = LAYERS.iter().filter_map(|layer| layer.folder.split('/').next()).collect();
    for folder in folders {
        if !root.join(folder).join("README.md").is_file() {
            problems.push(format!("The layer has no README.md that says what belongs there: {folder}"));
        }
    }
    Ok(problems)
}

fn dependencies(metadata: &Metadata) -> Vec<String> {
    let mut problems = Vec::new();
    let ours: BTreeSet<&str> = metadata.packages.iter().map(|package| package.name.as_str()).collect();
    for package in &metadata.packages {
        let name = package.name.as_str();
        let folder = package.manifest_path.parent().and_then(|folder| folder.strip_prefix(&metadata.workspace_root).ok());
        if BESIDE.contains(&name) {
            continue;
        }
        let Some(layer) = LAYERS.iter().find(|layer| layer.name == name) else {
            problems.push(format!("The crate {name} is in no layer: add it to ARCHITECTURE.md and xtask/src/tidy/layers.rs"));
            continue;
        };
        if folder.is_none_or(|folder| folder.as_str() != layer.folder) {
            problems.push(format!(
                "The crate {name} belongs in {}, not {}",
                layer.folder,
                folder.map_or("elsewhere", |path| path.as_str())
            ));
        }
        for dependency in &package.dependencies {
            // A crate may name itself, to give its tests a feature.
            let other = dependency.name.as_str();
            if ours.contains(other) && other != name && !may(layer, other) {
                problems.push(format!("{name} may not depend on {other} ({})", package.manifest_path));
            }
        }
    }
    problems
}

fn may(layer: &Layer, other: &str) -> bool {
    let above = LAYERS.iter().take_while(|row| row.name != layer.name);
    layer.may.iter().any(|&word| match word {
        "all of the above" => above.clone().any(|row| row.name == other),
        word => {
            word == other || LAYERS.iter().any(|row| row.name == other && row.folder.split('/').next() == Some(word) && word != row.name)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(name: &str) -> &'static Layer {
        LAYERS.iter().find(|layer| layer.name == name).unwrap()
    }

    /// Rows of the table whose first heading is `crate`, without the backquotes.
    fn documented(text: &str) -> Vec<(String, String, Vec<String>)> {
        text.lines()
            .skip_while(|line| !line.starts_with("| crate |"))
            .skip(2)
            .take_while(|line| line.starts_with('|'))
            .map(|line| {
                let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
                let words = |cell: usize| -> Vec<String> {
                    let words = cells[cell].split(',').map(|word| word.trim().trim_matches('`').to_owned());
                    words.filter(|word| !word.is_empty()).collect()
                };
                (words(0).concat(), words(1).concat(), words(2))
            })
            .collect()
    }

    #[test]
    fn the_table_in_the_architecture_is_this_one() {
        let text = std::fs::read_to_string(crate::process::root().join("ARCHITECTURE.md")).unwrap();
        let ours: Vec<_> = LAYERS
            .iter()
            .map(|row| (row.name.to_owned(), row.folder.to_owned(), row.may.iter().map(|&word| word.to_owned()).collect()))
            .collect();
        assert_eq!(documented(&text), ours);
    }

    #[test]
    fn a_folder_stands_for_its_crates() {
        assert!(may(layer("qmp"), "sandbox"));
        assert!(may(layer("backend_qemu"), "qmp"));
        assert!(may(layer("supervisor"), "backend_qemu"));
        assert!(may(layer("virtualization"), "devices"));
        assert!(!may(layer("devices"), "virtualization"));
        assert!(!may(layer("boot"), "hv"));
        assert!(!may(layer("supervisor"), "library"));
        assert!(!may(layer("viv"), "supervisor"));
        assert!(!may(layer("bundle"), "machine"));
        assert!(!may(layer("library"), "backend_qemu"));
    }
}
