//! Sound cards, heard through the viewer that is connected to the D-Bus display.
//!
//! QEMU connects to the host's sound server by itself only where the person has said so ([`super::Request::sound_by_host`]): it then needs
//! the right to connect to Unix sockets, and no filter can tell the sound server's from those of the session and of other machines.

use bundle::Problem;

use super::builder::{Builder, printable};
use super::result::{Access, Subject};
use crate::facts::BusKind;

/// What to do where no viewer hears a machine.
const BY_HOST: &str = "\"sound\": \"host\" in settings.json lets QEMU play it by itself, which leaves its sandbox incomplete";

pub(super) fn add(b: &mut Builder<'_>) {
    let sounds = &b.configuration().sounds;
    let driver = if sounds.is_empty() {
        "none".to_owned()
    } else if b.request.sound_by_host {
        server(b)
    } else {
        viewer(b).to_owned()
    };
    // Boards with sound of their own do not start without being told who listens; they use only this.
    if b.emulator().default_audio {
        // A viewer hears the backend that the display names, which this one cannot be.
        let own = b.request.sound_by_host && sounds.iter().any(|sound| sound.hardware == "screamer");
        b.option(Subject::Sound, "-audio", if own { driver.as_str() } else { "none" });
    }
    if sounds.is_empty() {
        return;
    }
    b.option(Subject::Sound, "-audiodev", format!("{driver},id=audio0"));
    for (index, sound) in sounds.iter().enumerate() {
        card(b, &format!("Sound[{index}].Hardware"), index, &sound.hardware);
    }
}

/// Whether the D-Bus display, which must be there already, carries sound.
pub(super) fn goes_to_viewer(b: &Builder<'_>) -> bool {
    let audible = !b.configuration().sounds.is_empty() && !b.request.sound_by_host;
    audible && b.out.dbus_display && b.emulator().audio.contains("dbus")
}

fn viewer(b: &mut Builder<'_>) -> &'static str {
    if goes_to_viewer(b) {
        return "dbus";
    }
    b.report(Problem::ignored("Sound", "sound goes over a D-Bus display, and there is none; nothing is heard").with_hint(BY_HOST));
    "none"
}

/// The driver of the first sound server that is here and that QEMU knows.
fn server(b: &mut Builder<'_>) -> String {
    let emulator = b.emulator();
    match b.host().audio.iter().find(|server| emulator.audio.contains(&server.driver)) {
        Some(server) => {
            b.file(&server.path, Access::ReadWrite);
            if server.driver != "alsa" {
                b.out.makes.unix_connecting = true;
            }
            server.driver.clone()
        }
        None => {
            b.note(
                "Sound",
                "no sound server was found (PipeWire, PulseAudio, ALSA), so nothing is heard; install qemu-system-gui if there is one",
            );
            "none".to_owned()
        }
    }
}

fn card(b: &mut Builder<'_>, key: &str, index: usize, hardware: &str) {
    match hardware {
        "pcspk" => {
            if b.machine_has("pcspk-audiodev") {
                b.machine_properties.push("pcspk-audiodev=audio0".to_owned());
            } else {
                let target = b.target();
                b.fixed(key, format!("the machine {target} has no speaker; left out"));
            }
        }
        "asc" => {
            if b.machine_has("audiodev") {
                b.machine_properties.push("audiodev=audio0".to_owned());
            }
        }
        "screamer" => {
            if !b.emulator().has_device("screamer") {
                b.note(key, "the installed QEMU has no sound for this machine; it stays silent");
            } else if !b.request.sound_by_host {
                b.report(Problem::ignored(key, "no viewer can hear this board's own sound; it stays silent").with_hint(BY_HOST));
            }
        }
        _ => {
            if !b.exists(key, hardware) {
                return;
            }
            // Boards without the classic DMA controllers; cards of their time need those.
            if matches!(hardware, "sb16" | "gus" | "cs4231a") && b.request.board.is_some_and(|board| !board.devices.contains("i8257")) {
                let target = b.target();
                return b.fixed(key, format!("the machine {target} has no ISA DMA for {hardware}; left out"));
            }
            if let Err(kind) = b.fits(hardware) {
                let target = b.target();
                return b.fixed(key, format!("the machine {target} has no {} bus for {}; left out", kind.name(), printable(hardware)));
            }
            if hardware.contains("hda") {
                b.device(Subject::Sound, format!("{hardware},id=sound{index}"));
                return b.device(Subject::Sound, format!("hda-duplex,bus=sound{index}.0,audiodev=audio0"));
            }
            match (b.emulator().bus_of(hardware), b.usb_bus.clone()) {
                (Some(BusKind::Usb), Some(bus)) => b.device(Subject::Usb, format!("{hardware},bus={bus},audiodev=audio0")),
                _ => b.device(Subject::Sound, format!("{hardware},audiodev=audio0")),
            }
        }
    }
}
