//! Rules about `Cargo.toml`: versions are exact and in one place, and every crate takes the workspace's lints.

use std::path::Path;

use anyhow::{Context, Result};
use toml::{Table, Value};

/// Checks the workspace's manifest and every member's.
pub fn check(root: &Path) -> Result<Vec<String>> {
    let workspace = read(&root.join("Cargo.toml"))?;
    let table = workspace.get("workspace").and_then(Value::as_table).context("Cargo.toml has no [workspace]")?;
    let mut problems: Vec<String> = inexact(table.get("dependencies"))
        .map(|name| format!("The version of {name} is not exact (\"=1.2.3\") in [workspace.dependencies]: Cargo.toml"))
        .collect();
    for member in table.get("members").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
        let place = format!("{member}/Cargo.toml");
        problems.extend(member_problems(&read(&root.join(&place))?).into_iter().map(|problem| format!("{problem}: {place}")));
    }
    let fuzz = read(&root.join("fuzz/Cargo.toml"))?;
    problems
        .extend(inexact(fuzz.get("dependencies")).map(|name| format!("The version of {name} is not exact (\"=1.2.3\"): fuzz/Cargo.toml")));
    Ok(problems)
}

fn read(path: &Path) -> Result<Table> {
    let text = std::fs::read_to_string(path).with_context(|| format!("Could not read {}", path.display()))?;
    text.parse().with_context(|| format!("Could not understand {}", path.display()))
}

/// Dependencies from elsewhere whose version could change by itself.
fn inexact(dependencies: Option<&Value>) -> impl Iterator<Item = &str> {
    dependencies.and_then(Value::as_table).into_iter().flatten().filter_map(|(name, dependency)| {
        let version = dependency.as_str().or_else(|| dependency.get("version").and_then(Value::as_str));
        let exact = version.map_or(dependency.get("path").is_some(), |version| version.starts_with('='));
        (!exact).then_some(name.as_str())
    })
}

fn member_problems(manifest: &Table) -> Vec<String> {
    let mut problems = Vec::new();
    if manifest.get("lints").and_then(|lints| lints.get("workspace")).and_then(Value::as_bool) != Some(true) {
        problems.push("The crate does not take the workspace's lints ([lints] workspace = true)".to_owned());
    }
    let targets = manifest.get("target").and_then(Value::as_table).into_iter().flat_map(|targets| targets.values());
    for section in targets.filter_map(Value::as_table).chain([manifest]) {
        for kind in ["dependencies", "dev-dependencies", "build-dependencies"] {
            for (name, dependency) in section.get(kind).and_then(Value::as_table).into_iter().flatten() {
                let shared = dependency.get("workspace").and_then(Value::as_bool) == Some(true);
                let own_path = dependency.get("path").is_some();
                if !shared && !own_path {
                    problems.push(format!("The dependency {name} is not from [workspace.dependencies]"));
                }
            }
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_must_be_exact() {
        let table: Table = "a = \"=1.0.0\"\nb = \"1.0\"\nc = { path = \"c\" }\nd = { version = \"2\", features = [] }\n".parse().unwrap();
        let value = Value::Table(table);
        assert_eq!(inexact(Some(&value)).collect::<Vec<_>>(), ["b", "d"]);
    }

    #[test]
    fn members_share_lints_and_versions() {
        let good: Table =
            "[lints]\nworkspace = true\n[dependencies]\na.workspace = true\nb = { workspace = true, features = [] }\n".parse().unwrap();
        assert!(member_problems(&good).is_empty());
        let bad: Table = "[target.'cfg(unix)'.dependencies]\na = \"1\"\n".parse().unwrap();
        assert_eq!(member_problems(&bad).len(), 2);
    }
}
