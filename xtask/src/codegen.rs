//! `cargo xtask codegen`: what is generated and committed, so that building needs neither QEMU nor a build script.
//!
//! The bindings of `qmp` are made in two steps. [`reduce`] takes from an installed QEMU's definitions what `surface.toml` asks for and gives
//! types their names; the result, `definitions.json`, is committed. [`render`] makes Rust of it, which needs no QEMU, and neither does
//! checking that step.

mod reduce;
mod render;
mod surface;

use std::{
    fs,
    io::{Read, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, bail, ensure};
use qmp::codec::{Decoder, Envelope};
use serde_json::Value;

use surface::Surface;

/// The QEMU whose definitions are used. Its targets differ in few commands, and this one has them all.
const QEMU: &str = "qemu-system-x86_64";

/// Generates what `target` names, or with `check` says whether that would change anything.
pub fn run(target: &str, check: bool) -> anyhow::Result<()> {
    match target {
        "qmp" => qmp_bindings(check),
        other => bail!("There is nothing to generate for `{other}`; `qmp` is the only target"),
    }
}

fn qmp_bindings(check: bool) -> anyhow::Result<()> {
    let member = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask is not in a workspace")?.join("protocols/qmp");
    let path = member.join("surface.toml");
    let surface: Surface = toml::from_str(&read(&path)?).with_context(|| format!("Could not understand {}", path.display()))?;
    let generated = member.join("src/generated");
    let path = generated.join("definitions.json");

    let definitions = if check {
        let committed = read(&path)?;
        check_against_installed(&surface, &committed)?;
        committed
    } else {
        let Some((version, schema)) = installed_schema()? else {
            bail!("{QEMU} is not installed; `cargo xtask setup` says what is needed");
        };
        reduce::reduce(&surface, &schema, &version)?
    };

    let mut files = render::render(&surface, &definitions)?
        .into_iter()
        .map(|(name, text)| Ok((generated.join(name), formatted(&text)?)))
        .collect::<anyhow::Result<Vec<(PathBuf, String)>>>()?;
    files.push((path, definitions));
    for (path, text) in files {
        if !check {
            fs::write(&path, text).with_context(|| format!("Could not write {}", path.display()))?;
        } else if read(&path)? != text {
            bail!("Out of date, run `cargo xtask codegen qmp`: {}", path.display());
        }
    }
    Ok(())
}

/// Where the QEMU of the committed definitions is installed, they must be what it says.
fn check_against_installed(surface: &Surface, committed: &str) -> anyhow::Result<()> {
    let Some((version, schema)) = installed_schema()? else {
        println!("Not compared with QEMU: {QEMU} is not installed");
        return Ok(());
    };
    let theirs: Value = serde_json::from_str(committed).context("Could not read definitions.json")?;
    let theirs = theirs.get("qemu").and_then(Value::as_str);
    if theirs != Some(version.as_str()) {
        println!("Not compared with QEMU: definitions are of {}, {version} is installed", theirs.unwrap_or("an unknown version"));
        return Ok(());
    }
    ensure!(
        reduce::reduce(surface, &schema, &version)? == committed,
        "definitions.json is not what surface.toml and QEMU {version} give; run `cargo xtask codegen qmp`"
    );
    Ok(())
}

fn read(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("Could not read {}", path.display()))
}

/// Version and definitions of the installed QEMU; `None` where there is none.
fn installed_schema() -> anyhow::Result<Option<(String, Value)>> {
    let Ok(program) = which::which(QEMU) else {
        return Ok(None);
    };
    let mut child = Command::new(&program)
        .args(["-machine", "none", "-nodefaults", "-no-user-config", "-S"])
        .args(["-display", "none", "-qmp", "stdio"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("Could not start {}", program.display()))?;
    let mut stdin = child.stdin.take().context("QEMU has no standard input")?;
    for command in ["qmp_capabilities", "query-qmp-schema", "quit"] {
        writeln!(stdin, "{{\"execute\": \"{command}\", \"id\": \"{command}\"}}").context("Could not write to QEMU")?;
    }
    let mut output = Vec::new();
    child.stdout.take().context("QEMU has no standard output")?.read_to_end(&mut output).context("Could not read from QEMU")?;
    let status = child.wait().context("Could not wait for QEMU")?;
    ensure!(status.success(), "QEMU ended with {status}");

    let mut version = None;
    for message in Decoder::default().push(&output) {
        match message.context("QEMU sent what is not a message")? {
            Envelope::Greeting(greeting) => version = greeting.version,
            Envelope::Return { id: Some(Value::String(id)), value } if id == "query-qmp-schema" => {
                let (major, minor, micro) = version.context("QEMU did not say its version")?;
                return Ok(Some((format!("{major}.{minor}.{micro}"), value)));
            }
            _ => {}
        }
    }
    bail!("QEMU did not answer query-qmp-schema")
}

fn formatted(text: &str) -> anyhow::Result<String> {
    let mut child = Command::new("rustfmt")
        .args(["--edition", "2024", "--emit", "stdout"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("Could not start rustfmt")?;
    let mut stdin = child.stdin.take().context("rustfmt has no standard input")?;
    stdin.write_all(text.as_bytes()).context("Could not write to rustfmt")?;
    drop(stdin);
    let output = child.wait_with_output().context("Could not run rustfmt")?;
    ensure!(output.status.success(), "rustfmt refused what was generated");
    String::from_utf8(output.stdout).context("rustfmt gave something other than text")
}
