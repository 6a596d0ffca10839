//! The desktop app in the demo: in a window where there is a display, in pictures where there is none.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use anyhow::{Context, Result, bail};

use super::NAME;
use crate::process;
use crate::viv::Viv;
use crate::x_server::XServer;

/// Machines beside the one that runs, so that the list looks like somebody's.
const OTHERS: [(&str, &[&str]); 4] = [
    ("Debian 13", &["--memory", "4GiB", "--disk", "64GiB"]),
    ("Windows 11", &["--os", "windows", "--no-tpm", "--memory", "8GiB", "--disk", "128GiB"]),
    ("Router", &["--arch", "aarch64", "--memory", "512MiB", "--disk", "4GiB"]),
    ("Mac OS 9", &["--arch", "ppc", "--machine", "mac99", "--os", "other", "--memory", "512MiB", "--disk", "8GiB"]),
];

/// Light or dark.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Appearance {
    Light,
    Dark,
}

/// Whether there is a display to have windows on.
pub fn has_display() -> bool {
    ["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
}

/// Opens the machine's window and waits until it is closed.
pub fn show(viv: &Viv) -> Result<()> {
    let mut app = std::process::Command::new(program(viv)?);
    app.arg(bundle(viv)).env("VIVARIUM_HOME", &viv.home);
    println!(
        "$ vivarium {}\nIts window is open; the demo ends when you close it.",
        process::display(&app).rsplit('/').next().unwrap_or(NAME)
    );
    process::run(&mut app)
}

/// Takes pictures of the app on an X server without a screen. Their names end with `suffix`.
pub fn photograph(viv: &Viv, folder: &Path, appearance: Appearance, suffix: &str) -> Result<()> {
    make_others(viv)?;
    fs::create_dir_all(folder).with_context(|| format!("Could not create {}", folder.display()))?;
    prefer(viv, appearance)?;
    let screen = XServer::start(1600, 1000)?;
    let app = screen.program(program(viv)?).env("VIVARIUM_HOME", &viv.home).stderr(Stdio::inherit()).spawn();
    let mut app = Ended(app.context("Could not start the app")?);

    let home = screen.window("Vivarium")?;
    let take = |window: &str, name: &str| -> Result<()> {
        let file = folder.join(format!("{name}{suffix}.png"));
        screen.photograph(window, &file)?;
        println!("  {name:<12} {}", file.display());
        Ok(())
    };
    take(&home, "home")?;
    let windows = [
        ("ctrl+n", "New machine", "wizard"),
        ("ctrl+e", &format!("{NAME} settings"), "editor"),
        ("ctrl+comma", "Preferences", "preferences"),
        ("ctrl+d", NAME, "machine"),
    ];
    for (keys, title, name) in windows {
        screen.key(&home, keys)?;
        take(&screen.window(title)?, name)?;
    }
    if let Some(status) = app.0.try_wait()? {
        bail!("The app has ended ({status})");
    }
    Ok(())
}

/// The app, beside `viv`.
fn program(viv: &Viv) -> Result<PathBuf> {
    let program = viv.program.with_file_name("vivarium");
    if !program.is_file() {
        bail!("The build made no {}", program.display());
    }
    Ok(program)
}

fn bundle(viv: &Viv) -> PathBuf {
    viv.home.join(format!("{NAME}.utm"))
}

fn make_others(viv: &Viv) -> Result<()> {
    let missing = OTHERS.iter().filter(|(name, _)| !viv.home.join(format!("{name}.utm")).exists());
    missing.into_iter().try_for_each(|(name, what)| process::quiet(viv.command(["create", name]).args(*what)))
}

fn prefer(viv: &Viv, appearance: Appearance) -> Result<()> {
    let file = viv.home.join(".state/preferences.json");
    let word = if appearance == Appearance::Dark { "dark" } else { "light" };
    fs::write(&file, format!("{{\"appearance\": \"{word}\"}}\n")).with_context(|| format!("Could not write {}", file.display()))
}

/// A process that does not outlive the demo.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
