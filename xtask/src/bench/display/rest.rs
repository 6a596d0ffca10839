//! The app when nothing happens, when it starts, and with very many machines.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::cost;
use super::eyes::Eyes;
use super::side::{Ours, Side as _};
use super::table::{Aim, Table, median};
use crate::bench::bare::Ended;
use crate::bench::list;
use crate::viv::Viv;
use crate::x_server::XServer;

/// How long it is watched.
const WATCHED: Duration = Duration::from_secs(20);
/// It rests when it has drawn nothing for so long.
const QUIET: Duration = Duration::from_millis(1500);
/// How often a key is pressed in the long list.
const PRESSED: u32 = 100;
/// X's number of the key Page Down.
const PAGE_DOWN: u8 = 117;

/// A machine's window whose guest does nothing.
pub fn machines_window(eyes: &Eyes, ours: &Ours<'_>, table: &mut Table) -> Result<()> {
    // A guest whose cursor blinks does something.
    ours.run("echo 0 >/sys/class/graphics/fbcon/cursor_blink")?.finish()?;
    let viewer = ours.view()?;
    eyes.look(viewer.window)?.rest(QUIET)?;
    watch("a machine's window", viewer.pid(), table)
}

/// The list: how soon it is there, and at rest.
pub fn home(eyes: &Eyes, screen: &XServer, viv: &Viv, rounds: u32, table: &mut Table) -> Result<()> {
    let mut took = Vec::new();
    for _ in 0..rounds.max(3) {
        let (first, child, _) = eyes.first_frame(&mut app(screen, viv))?;
        drop(Ended(child));
        took.push(first.as_secs_f64() * 1000.0);
    }
    table.add("first frame of the list, ms", median(took), None, Aim::AtMost(150.0));
    let (_, child, window) = eyes.first_frame(&mut app(screen, viv))?;
    let child = Ended(child);
    eyes.look(window)?.rest(QUIET)?;
    watch("the list", child.0.id(), table)
}

/// The list of very many machines.
pub fn many(eyes: &Eyes, screen: &XServer, viv: &Viv, folder: &Path, bundles: u32, table: &mut Table) -> Result<()> {
    let many = list::fill(viv, super::NAME, folder, bundles)?;
    let began = Instant::now();
    let (first, child, window) = eyes.first_frame(&mut app(screen, &many))?;
    let child = Ended(child);
    let seen = eyes.look(window)?;
    let listed = seen.rest(QUIET)?.saturating_duration_since(began);
    seen.focus()?;
    let mut took = Vec::new();
    for _ in 0..PRESSED {
        took.push(seen.press_until_drawn(PAGE_DOWN)?.as_secs_f64() * 1000.0);
        seen.rest(Duration::from_millis(30))?;
    }
    let longest = took.iter().copied().fold(0.0, f64::max);
    let of = |what: &str| format!("{bundles} machines: {what}");
    table.add(of("first frame, ms"), first.as_secs_f64() * 1000.0, None, Aim::AtMost(150.0));
    table.add(of("until all are listed, ms"), listed.as_secs_f64() * 1000.0, None, Aim::Told);
    table.add(of("a page further in the list, ms"), median(took), None, Aim::AtMost(16.7));
    table.add(of("the slowest page of a hundred, ms"), longest, None, Aim::AtMost(50.0));
    table.add(of("resident, MiB"), cost::resident(child.0.id())?, None, Aim::Told);
    list::clear(&many)
}

fn app(screen: &XServer, viv: &Viv) -> std::process::Command {
    let mut command = screen.program(viv.program.with_file_name("vivarium"));
    command.env("VIVARIUM_HOME", &viv.home);
    command
}

fn watch(what: &str, process: u32, table: &mut Table) -> Result<()> {
    let before = cost::processor(&[process])?;
    std::thread::sleep(WATCHED);
    let spent = cost::processor(&[process])?.saturating_sub(before);
    let share = 100.0 * spent.as_secs_f64() / WATCHED.as_secs_f64();
    // What a clock that is read now and then costs is nothing.
    table.add(format!("{what} at rest: processor, %"), share, None, Aim::AtMost(0.05));
    table.add(format!("{what} at rest: resident, MiB"), cost::resident(process)?, None, Aim::AtMost(60.0));
    Ok(())
}
