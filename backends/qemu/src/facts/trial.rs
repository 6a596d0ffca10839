//! Starting a machine that never runs, to see what it is.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use serde_json::json;

use super::board::{Board, Bus, BusKind, Probe};
use super::conversation::Conversation;
use super::{Emulator, Error};

const DEADLINE: Duration = Duration::from_secs(20);

/// What a machine is tried with. It also gets a network card and a serial port, to see whether it has a place for them.
#[derive(Clone, Copy)]
pub(super) struct Trial<'a> {
    pub emulator: &'a Emulator,
    /// Machine and CPU.
    pub probe: &'a Probe,
    /// `-m` in MiB.
    pub memory: Option<u64>,
    /// `-smp`.
    pub cpus: Option<u64>,
    /// `-bios` or `-kernel`, with its file.
    pub boot: Option<(&'a str, &'a Path)>,
    /// Whether there is a card for its SD slot.
    pub sd_card: bool,
}

/// What became of it.
pub(super) enum Tried {
    /// It reached its prelaunch state and said what it is.
    Accepted(Box<Board>),
    /// QEMU's words.
    Refused(String),
}

impl Trial<'_> {
    /// Starts the machine and asks it. An error means that nothing was learnt.
    pub async fn run(self) -> Result<Tried, Error> {
        let answer = async {
            let mut talk = Conversation::start(&self.emulator.identity.path, &self.arguments(), DEADLINE).await?;
            let board = self.ask(&mut talk).await?;
            talk.quit().await;
            Ok(board)
        };
        match answer.await {
            Ok(board) => Ok(Tried::Accepted(Box::new(board))),
            Err(Error::Ended { stderr, status, .. }) => Ok(Tried::Refused(refusal(&stderr, &status))),
            Err(error) => Err(error),
        }
    }

    fn arguments(&self) -> Vec<OsString> {
        let mut arguments: Vec<OsString> =
            ["-nodefaults", "-no-user-config", "-S", "-display", "none", "-accel", "tcg"].map(Into::into).into();
        // Boards with sound of their own insist on a backend.
        if self.emulator.default_audio {
            arguments.extend(["-audio", "none"].map(Into::into));
        }
        arguments.extend(["-chardev", "null,id=serial0", "-serial", "chardev:serial0"].map(Into::into));
        if self.emulator.netdevs.contains("hubport") {
            arguments.extend(["-nic", "hubport,hubid=0"].map(Into::into));
        }
        arguments.extend(["-machine".into(), (&self.probe.machine).into()]);
        if let Some(cpu) = &self.probe.cpu {
            arguments.extend(["-cpu".into(), cpu.into()]);
        }
        if let Some(memory) = self.memory {
            arguments.extend(["-m".into(), format!("{memory}M").into()]);
        }
        if let Some(cpus) = self.cpus {
            arguments.extend(["-smp".into(), cpus.to_string().into()]);
        }
        if let Some((option, file)) = self.boot {
            arguments.extend([option.into(), file.into()]);
        }
        if self.sd_card {
            arguments.extend(["-drive", "if=sd,driver=null-co,size=1G"].map(Into::into));
        }
        arguments
    }

    async fn ask(&self, talk: &mut Conversation) -> Result<Board, Error> {
        let tree = Tree::parse(&talk.human("info qtree").await?, self.emulator);
        let cpus = talk.ask("query-cpus-fast").await?;
        let memory = talk.ask("query-memory-size-summary").await?;
        let chardevs = talk.ask("query-chardev").await?;
        let serial = chardevs.as_array().into_iter().flatten().find(|chardev| chardev["label"] == "serial0");
        // The card that the board took our network for. On a board with slots, QEMU plugs one in: that is no part of the board.
        let soldered = |card: &&String| self.emulator.bus_of(card) == Some(BusKind::System);
        Ok(Board {
            network_card: tree.network_cards.iter().find(soldered).cloned(),
            screens: screens(talk).await?,
            serial: serial.is_some_and(|chardev| chardev["frontend-open"] == true),
            firmware: talk.human("info roms").await?.lines().find_map(firmware).map(str::to_owned),
            buses: tree.buses,
            devices: tree.devices,
            cpus: cpus.as_array().map_or(1, |cpus| cpus.len() as u64),
            memory: memory["base-memory"].as_u64().unwrap_or(0),
            ..Board::default()
        })
    }
}

/// The devices that draw a screen.
async fn screens(talk: &mut Conversation) -> Result<Vec<String>, Error> {
    let backends = talk.ask_with("qom-list", json!({ "path": "/backend" })).await?;
    let mut screens = Vec::new();
    for backend in backends.as_array().into_iter().flatten().filter(|backend| backend["type"] == "child<qemu-graphic-console>") {
        let console = format!("/backend/{}", backend["name"].as_str().unwrap_or_default());
        let device = get(talk, &console, "device").await?;
        let kind = if device.is_empty() { String::new() } else { get(talk, &device, "type").await? };
        if !kind.is_empty() && !screens.contains(&kind) {
            screens.push(kind);
        }
    }
    Ok(screens)
}

/// A property that is a text; what is not there is empty.
async fn get(talk: &mut Conversation, path: &str, property: &str) -> Result<String, Error> {
    match talk.ask_with("qom-get", json!({ "path": path, "property": property })).await {
        Ok(value) => Ok(value.as_str().unwrap_or_default().to_owned()),
        Err(Error::Answer { .. }) => Ok(String::new()),
        Err(error) => Err(error),
    }
}

fn refusal(stderr: &str, status: &str) -> String {
    // QEMU prefixes its messages with the program; what matters comes after the first colon of the last line that is not a warning.
    let line = stderr.lines().rev().find(|line| !line.contains("warning:") && !line.trim().is_empty()).unwrap_or("").trim();
    let line = match line.split_once(": ") {
        Some((program, rest)) if program.contains("qemu-system") => rest,
        _ => line,
    };
    if line.is_empty() { format!("it ended ({status}) without a word") } else { line.to_owned() }
}

/// The file of a line of `info roms`, where it is firmware: something in memory that came from a file. What QEMU makes itself (device
/// trees, tables, parameters) has a bare name, and option ROMs lie elsewhere.
fn firmware(line: &str) -> Option<&str> {
    if line.starts_with("fw=") || line.starts_with("/rom@") {
        return None;
    }
    let name = line.split_once("name=\"")?.1.split_once('"')?.0;
    let path = name.split_once(" ELF program header").map_or(name, |(path, _)| path);
    let file = path.rsplit('/').next().unwrap_or(path);
    let extension = file.rsplit_once('.').map_or("", |(_, extension)| extension);
    let is_file = path.contains('/') || matches!(extension, "bin" | "img" | "rom" | "lid" | "fd" | "elf");
    is_file.then_some(file)
}

/// What the output of `info qtree` says.
#[derive(Debug, Default)]
struct Tree {
    buses: Vec<Bus>,
    devices: BTreeSet<String>,
    /// Those that are connected to a network.
    network_cards: Vec<String>,
}

impl Tree {
    /// The tree lists the bus that was added last first, so the result is turned round.
    fn parse(text: &str, emulator: &Emulator) -> Self {
        let mut tree = Self::default();
        let mut bus: Option<&str> = None;
        let mut device = "";
        for line in text.lines() {
            let line = line.trim();
            if let Some(name) = line.strip_prefix("bus: ") {
                bus = Some(name);
            } else if let Some(kind) = line.strip_prefix("type ") {
                if let (Some(name), Some(kind)) = (bus.take(), emulator.kind_of_bus(kind.trim())) {
                    tree.buses.push(Bus { name: name.to_owned(), kind });
                }
            } else if let Some(named) = line.strip_prefix("dev: ") {
                device = named.split(',').next().unwrap_or(named);
                tree.devices.insert(device.to_owned());
            } else if line.strip_prefix("netdev = ").is_some_and(|peer| peer != "\"\"") {
                tree.network_cards.push(device.to_owned());
            }
        }
        // Numbered siblings (ide.5 ... ide.0) are sorted; everything else keeps the order of the board.
        tree.buses.reverse();
        tree.buses.sort_by_key(|bus| (bus.kind, numbered(&bus.name)));
        tree
    }
}

/// The number at the end of `ide.3`.
fn numbered(name: &str) -> Option<u32> {
    name.rsplit_once('.').and_then(|(_, number)| number.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TREE: &str = "bus: main-system-bus\r\n  type System\r\n  dev: q35-pcihost, id \"\"\r\n    bus: pcie.0\r\n      type PCIE\r\n      \
                        dev: ich9-ahci, id \"\"\r\n        bus: ide.1\r\n          type IDE\r\n        bus: ide.0\r\n          type IDE\r\n  \
                        dev: lan9118, id \"\"\r\n    mac = \"52:54:00:12:34:56\"\r\n    netdev = \"#net019\"\r\n  \
                        dev: lan9118, id \"\"\r\n    netdev = \"\"\r\n";

    #[test]
    fn the_device_tree_gives_buses_in_order_and_the_connected_card() {
        let bus_types = [("PCIE", "PCI"), ("PCI", "bus"), ("IDE", "bus"), ("System", "bus")];
        let bus_types = bus_types.iter().map(|(name, parent)| ((*name).to_owned(), (*parent).to_owned())).collect();
        let tree = Tree::parse(TREE, &Emulator { bus_types, ..Emulator::default() });
        let names: Vec<&str> = tree.buses.iter().map(|bus| bus.name.as_str()).collect();
        assert_eq!(names, ["pcie.0", "ide.0", "ide.1", "main-system-bus"]);
        assert!(tree.devices.contains("ich9-ahci"));
        assert_eq!(tree.network_cards, ["lan9118"]);
    }

    #[test]
    fn a_refusal_is_the_last_line_without_the_program() {
        let stderr = "qemu-system-arm: warning: nic lan9118.0 has no peer\nqemu-system-arm: Invalid RAM size, should be 16 MiB";
        assert_eq!(refusal(stderr, "exit status: 1"), "Invalid RAM size, should be 16 MiB");
        assert_eq!(refusal("", "signal: 6"), "it ended (signal: 6) without a word");
    }

    #[test]
    fn firmware_is_what_came_from_a_file() {
        for (line, file) in [
            ("addr=00000000fffc0000 size=0x040000 mem=rom name=\"bios-256k.bin\"", Some("bios-256k.bin")),
            (
                "addr=00000000fff00000 size=0x0b2708 mem=rom name=\"/usr/share/qemu/openbios-ppc ELF program header segment 0\"",
                Some("openbios-ppc"),
            ),
            ("irom size=0x000300 name=\"/usr/share/qemu/npcm7xx_bootrom.bin\"", Some("npcm7xx_bootrom.bin")),
            ("fw=genroms/kvmvapic.bin size=0x002400 name=\"kvmvapic.bin\"", None),
            ("/rom@etc/acpi/tables size=0x200000 name=\"etc/acpi/tables\"", None),
            ("addr=0000000000001000 size=0x000028 mem=rom name=\"mrom.reset\"", None),
            ("addr=0000000040000000 size=0x100000 mem=ram name=\"dtb\"", None),
            ("", None),
        ] {
            assert_eq!(firmware(line), file, "{line}");
        }
    }
}
