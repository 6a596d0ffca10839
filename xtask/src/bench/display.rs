//! The desktop app against remote-viewer: both show the same guest, in turns, in the same run, on an X server without a screen.

mod cost;
mod eyes;
mod rest;
mod side;
mod table;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use self::eyes::Eyes;
use self::side::{Ours, Side, Theirs};
use self::table::{Aim, Table, median};
use super::bare::Bare;
use crate::guests::{Entry, initrd};
use crate::nested;
use crate::process;
use crate::viv::{self, Viv};
use crate::x_server::XServer;

/// Where the table goes, in the repository.
const PAGE: &str = "docs/display-benchmarks.md";
/// The machine.
const NAME: &str = "Display";
/// How large the guest's screen is.
const SIZES: [(u32, u32); 3] = [(1280, 800), (1920, 1080), (3840, 2160)];
/// How long updates are counted in a turn.
const COUNTED: Duration = Duration::from_secs(8);
/// How long the guest repaints for that, seconds.
const PAINTED: u32 = 14;
/// Keys that are pressed in a turn.
const KEYS: u32 = 25;
/// X's number of the key A.
const KEY: u8 = 38;

/// What a turn of one side showed.
struct Turn {
    shown: f64,
    /// Repaints of the guest itself, per second.
    painted: f64,
    /// Milliseconds of processor time for each update.
    cost: f64,
}

/// Measures, shows the table, and puts it into the documentation if that is wanted.
pub fn measure(rounds: u32, bundles: u32, write: bool) -> Result<()> {
    let build = build()?;
    let folder = build.with_file_name("bench-display");
    fs::create_dir_all(&folder).with_context(|| format!("Could not make {}", folder.display()))?;
    let viv = Viv::new(&build, folder.join("library"))?;
    viv.clear(NAME)?;
    let screen = XServer::start(4096, 2400)?;
    let eyes = Eyes::open(&screen.name)?;
    let mut table = Table::default();

    let bare = machine(&viv, &folder)?;
    let ours = Ours::start(&viv, &screen, NAME)?;
    let theirs = Theirs::start(&bare, &screen, &folder.join("bare"))?;
    let mut sides: [&dyn Side; 2] = [&ours, &theirs];
    for (width, height) in SIZES {
        let mut turns = [Vec::new(), Vec::new()];
        for round in 0..rounds {
            for turn in 0..2 {
                let at = ((round + turn) % 2) as usize;
                let shown = updates(&eyes, sides[at], width, height)?;
                println!(
                    "{width}×{height}, {}: {:.1} of {:.1} updates a second, {:.2} ms each",
                    sides[at].name(),
                    shown.shown,
                    shown.painted,
                    shown.cost
                );
                turns[at].push(shown);
            }
        }
        let of = |at: usize, value: fn(&Turn) -> f64| median(turns[at].iter().map(value).collect());
        table.add(
            format!("{width}×{height}: updates shown per second"),
            of(0, |turn| turn.shown),
            Some(of(1, |turn| turn.shown)),
            Aim::AtLeast(60.0),
        );
        table.add(
            format!("{width}×{height}: repaints of the guest per second"),
            of(0, |turn| turn.painted),
            Some(of(1, |turn| turn.painted)),
            Aim::Told,
        );
        table.add(
            format!("{width}×{height}: processor time per update, ms"),
            of(0, |turn| turn.cost),
            Some(of(1, |turn| turn.cost)),
            Aim::RatioAtMost(0.5),
        );
    }
    let mut keys = [Vec::new(), Vec::new()];
    for round in 0..rounds {
        for turn in 0..2 {
            let at = ((round + turn) % 2) as usize;
            keys[at].extend(latencies(&eyes, sides[at])?);
        }
    }
    let [of_ours, of_theirs] = keys.map(median);
    println!("from a key: {of_ours:.1} and {of_theirs:.1} ms");
    table.add("from a key to changed pixels, ms", of_ours, Some(of_theirs), Aim::AtMost(5.0));
    sides.reverse();
    rest::machines_window(&eyes, &ours, &mut table)?;
    drop(theirs);
    drop(ours);

    rest::home(&eyes, &screen, &viv, rounds, &mut table)?;
    rest::many(&eyes, &screen, &viv, &folder, bundles, &mut table)?;
    println!("\n{table}");
    viv.clear(NAME)?;
    if write {
        let page = process::root().join(PAGE);
        fs::write(&page, table::page(&table, rounds, &computer())).with_context(|| format!("Could not write {}", page.display()))?;
        println!("It is in {PAGE} now.");
    }
    Ok(())
}

/// Builds what is measured, as people have it.
fn build() -> Result<PathBuf> {
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--locked", "--release", "--bins", "--package", "viv", "--package", "supervisor", "--package", "sandbox"]);
    process::run(cargo.args(["--package", "exchange", "--package", "desktop"]).current_dir(process::root()))?;
    Ok(viv::target().join("release"))
}

/// Makes the machine, and the command line that it has.
fn machine(viv: &Viv, folder: &Path) -> Result<Bare> {
    let entry = super::assemble()?;
    let painter = nested::build_of(
        "acceptance",
        &["rustc", "--example", "guest_paint"],
        &["-C", "target-feature=+crt-static", "-C", "opt-level=3"],
        "guest_paint",
    )?;
    let initrd = with_program(&entry, &painter, folder)?;
    let mut create = viv.command([
        "create",
        NAME,
        "--arch",
        &entry.architecture,
        "--memory",
        "1GiB",
        "--cpus",
        "2",
        "--no-disk",
        "--network",
        "none",
        "--no-sound",
    ]);
    create.arg("--kernel").arg(&entry.kernel).arg("--initrd").arg(&initrd);
    process::quiet(create.arg("--append").arg(format!("{} quiet", entry.append)))?;
    // A USB keyboard is asked for its keys at intervals, which would be measured.
    process::quiet(&mut viv.command(["config", "set", NAME, "Input.UsbBusSupport", "Disabled"]))?;
    super::command_line(viv, NAME)
}

/// The guest's initial RAM disk, with the program in it.
fn with_program(entry: &Entry, painter: &Path, folder: &Path) -> Result<PathBuf> {
    let tree = folder.join("tree");
    fs::create_dir_all(tree.join("bin"))?;
    fs::copy(painter, tree.join("bin/guest_paint")).context("Could not copy the guest's program")?;
    initrd::pack(&tree, &folder.join("painter.gz"))?;
    let initrd = folder.join("initrd.gz");
    // The kernel unpacks one archive after the other.
    fs::write(&initrd, [fs::read(&entry.initrd)?, fs::read(folder.join("painter.gz"))?].concat())
        .context("Could not write the guest's initial RAM disk")?;
    Ok(initrd)
}

/// A turn of one side: its viewer is started, the guest repaints, and what is shown is counted.
fn updates(eyes: &Eyes, side: &dyn Side, width: u32, height: u32) -> Result<Turn> {
    let viewer = side.view()?;
    let window = eyes.look(viewer.window)?;
    let painting = side.run(&format!("guest_paint {width} {height} 60 {PAINTED}"))?;
    window.resize(width + viewer.beside.0, height + viewer.beside.1)?;
    window.changes(10)?;
    let middle = window.middle_width()?;
    anyhow::ensure!(eyes::is_one_to_one(middle), "{} does not show the guest pixel for pixel: its middle is {middle} wide", side.name());
    let processes = side.processes(&viewer);
    let before = cost::processor(&processes)?;
    let shown = window.count(COUNTED)?;
    let spent = cost::processor(&processes)?.saturating_sub(before);
    let said = painting.finish()?;
    let painted = painted(&said).with_context(|| format!("The guest's program did not say how often it painted: {said}"))?;
    Ok(Turn { shown: f64::from(shown) / COUNTED.as_secs_f64(), painted, cost: spent.as_secs_f64() * 1000.0 / f64::from(shown.max(1)) })
}

/// How long keys take, in milliseconds.
fn latencies(eyes: &Eyes, side: &dyn Side) -> Result<Vec<f64>> {
    let (width, height) = SIZES[0];
    let viewer = side.view()?;
    let window = eyes.look(viewer.window)?;
    window.resize(width + viewer.beside.0, height + viewer.beside.1)?;
    let painting = side.run(&format!("guest_paint {width} {height} keys & painter=$!; read end; kill $painter"))?;
    window.focus()?;
    // The first shows that keys arrive at all.
    window.press_until_change(KEY)?;
    let mut took = Vec::new();
    for number in 0..KEYS {
        // Not in step with anybody's timer.
        std::thread::sleep(Duration::from_millis(60 + u64::from(number * 7 % 31)));
        took.push(window.press_until_change(KEY)?.as_secs_f64() * 1000.0);
    }
    painting.answer()?;
    Ok(took)
}

/// Repaints per second, out of `painted 840 in 14000 ms`.
fn painted(said: &str) -> Option<f64> {
    let (_, rest) = said.rsplit_once("painted ")?;
    let mut words = rest.split_whitespace();
    let (count, milliseconds): (f64, f64) = (words.next()?.parse().ok()?, words.nth(1)?.parse().ok()?);
    Some(count * 1000.0 / milliseconds)
}

/// What it was measured on.
fn computer() -> String {
    let information = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = information
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("an unknown processor", |(_, model)| model);
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{count} processors ({model})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_guest_says_is_understood() {
        assert_eq!(painted("painting\r\npainted 840 in 14000 ms\r\n"), Some(60.0));
        assert_eq!(painted("nothing"), None);
    }
}
