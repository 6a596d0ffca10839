//! From `viv start` to a running machine, against QEMU with the same command line and nothing around it, and against `virsh start` of an
//! equal machine.

use std::path::Path;

use anyhow::Result;

use super::bare::Bare;
use super::libvirt::Libvirt;
use super::{NAME, Spread, compare, time};
use crate::process;
use crate::viv::Viv;

/// Measures all of them in turn, so that what else the computer does meets all.
pub fn measure(viv: &Viv, bare: &Bare, folder: &Path, rounds: u32) -> Result<()> {
    let libvirt = Libvirt::find(folder).and_then(|libvirt| libvirt.map(|libvirt| libvirt.define(bare, folder)).transpose());
    let libvirt = libvirt.unwrap_or_else(|error| {
        println!("libvirt is left out, because it does not work here: {error:#}\n");
        None
    });
    let work = folder.join("bare");
    let (mut ours, mut alone, mut virsh) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        // What one leaves behind in the computer (a process that ends, a daemon that tidies up) meets the next, so each follows each.
        for turn in 0..3 {
            match (round + turn) % 3 {
                0 => {
                    ours.push(time(|| process::quiet(&mut viv.command(["start", NAME, "--wait"])))?.0);
                    process::quiet(&mut viv.command(["stop", NAME, "--kill"]))?;
                }
                1 => alone.push(time(|| bare.start(&work)?.run())?.0),
                _ => {
                    if let Some(libvirt) = &libvirt {
                        virsh.push(time(|| libvirt.start())?.0);
                        libvirt.stop()?;
                    }
                }
            }
        }
    }
    let ours = Spread::of(ours);
    compare("Start to running", ("viv start --wait", &ours), ("QEMU alone, same command line", &Spread::of(alone)));
    if let Some(libvirt) = &libvirt {
        compare("Start to running, beside libvirt", ("viv start --wait", &ours), ("virsh start", &Spread::of(virsh)));
        libvirt.explain();
    }
    Ok(())
}
