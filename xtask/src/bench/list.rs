//! Listing many machines, against reading their configuration files.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::{NAME, Spread, compare, time};
use crate::process;
use crate::viv::Viv;

/// Makes a library of so many machines, each like one that there is.
pub fn fill(viv: &Viv, name: &str, folder: &Path, bundles: u32) -> Result<Viv> {
    let model = fs::read_to_string(viv.home.join(format!("{name}.utm/config.plist"))).context("The machine has no configuration")?;
    let uuid = viv.json(["status", name])?.get("uuid").and_then(|uuid| uuid.as_str()).context("viv status has no uuid")?.to_owned();
    let uuid = find_ignoring_case(&model, &uuid).context("The configuration does not name its UUID")?;
    let many = Viv { program: viv.program.clone(), home: folder.join("many") };
    many.clear(name)?;
    for number in 0..bundles {
        let bundle = many.home.join(format!("Machine {number}.utm"));
        fs::create_dir_all(&bundle).with_context(|| format!("Could not create {}", bundle.display()))?;
        let own = format!("{number:08X}-0000-4000-8000-000000000000");
        let text = model.replace(&uuid, &own).replace(&format!("<string>{name}</string>"), &format!("<string>Machine {number}</string>"));
        fs::write(bundle.join("config.plist"), text)?;
    }
    Ok(many)
}

/// Removes such a library.
pub fn clear(many: &Viv) -> Result<()> {
    fs::remove_dir_all(&many.home).with_context(|| format!("Could not remove {}", many.home.display()))
}

/// Makes the bundles and lists them: once without what `viv` remembers of them, then with.
pub fn measure(viv: &Viv, folder: &Path, bundles: u32, rounds: u32) -> Result<()> {
    let many = fill(viv, NAME, folder, bundles)?;
    let listed = many.json(["list"])?.as_array().map_or(0, Vec::len);
    anyhow::ensure!(listed == bundles as usize, "viv lists {listed} of {bundles} machines");
    let (mut first, mut again, mut read) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        // What viv remembers is below its own cache folder, which is a new one each time.
        let cache = folder.join("cache");
        let _ = fs::remove_dir_all(&cache);
        let list = || process::quiet(many.command(["list"]).env("XDG_CACHE_HOME", &cache));
        first.push(time(list)?.0);
        again.push(time(list)?.0);
        read.push(time(|| read_all(&many.home))?.0);
    }
    let read = Spread::of(read);
    compare(&format!("List of {bundles} machines, first time"), ("viv list", &Spread::of(first)), ("reading their files", &read));
    compare(&format!("List of {bundles} machines, again"), ("viv list", &Spread::of(again)), ("reading their files", &read));
    let _ = fs::remove_dir_all(folder.join("cache"));
    clear(&many)
}

/// As it is written in the text.
fn find_ignoring_case(text: &str, wanted: &str) -> Option<String> {
    let at = text.to_ascii_lowercase().find(&wanted.to_ascii_lowercase())?;
    text.get(at..at + wanted.len()).map(str::to_owned)
}

fn read_all(home: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(home)? {
        // The library's own folder has no such file.
        bytes += fs::read(entry?.path().join("config.plist")).map_or(0, |file| file.len() as u64);
    }
    Ok(bytes)
}
