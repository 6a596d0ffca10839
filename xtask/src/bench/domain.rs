//! What libvirt has to be told to make a machine equal to one of our command lines.

use std::fmt::Write;

use anyhow::{Context, Result};

use super::bare::Bare;

/// libvirt's description of a machine.
pub struct Domain {
    /// The description.
    pub xml: String,
    /// Devices on our command line that it has no words for.
    pub lacking: Vec<String>,
}

/// The machine of a command line. `as_root` keeps root's libvirt from giving the machine's files to a user of its own.
pub fn of(name: &str, bare: &Bare, as_root: bool) -> Result<Domain> {
    let value = |option: &str| bare.values(option).next().with_context(|| format!("The command line has no {option}"));
    let architecture = bare.program.rsplit_once("qemu-system-").map(|(_, name)| name).context("The program is no qemu-system")?;
    let kvm = bare.values("-accel").any(|accelerator| accelerator.starts_with("kvm"));
    let (machine, properties) = split(value("-machine")?);
    let memory = value("-m")?;
    let mebibytes = memory.strip_suffix('M').with_context(|| format!("The memory {memory} is not in MiB"))?;
    let topology = Topology::of(value("-smp")?);

    let mut xml = format!("<domain type='{}'>\n  <name>{name}</name>\n", if kvm { "kvm" } else { "qemu" });
    writeln!(xml, "  <memory unit='MiB'>{mebibytes}</memory>\n  <vcpu>{}</vcpu>", topology.all)?;
    writeln!(xml, "  <os>\n    <type arch='{architecture}' machine='{machine}'>hvm</type>")?;
    for (option, element) in [("-kernel", "kernel"), ("-initrd", "initrd"), ("-append", "cmdline")] {
        if let Some(text) = bare.values(option).next() {
            writeln!(xml, "    <{element}>{}</{element}>", escaped(text))?;
        }
    }
    xml.push_str("  </os>\n");
    if matches!(architecture, "x86_64" | "i386") {
        let vmport = if properties.contains(&"vmport=off") { "<vmport state='off'/>" } else { "" };
        writeln!(xml, "  <features><acpi/><apic/>{vmport}</features>\n  <pm><suspend-to-mem enabled='no'/></pm>")?;
    }
    xml.push_str(&processor(bare.values("-cpu").next(), &topology));

    let mut devices = Devices::default();
    bare.values("-device").for_each(|device| devices.add(device));
    if bare.has("-usb") {
        devices.elements.push_str(USB_2);
    }
    if bare.values("-spice").next().is_some() {
        devices.elements.push_str("    <graphics type='spice'><listen type='none'/><image compression='off'/></graphics>\n");
    }
    let balloon = devices.balloon.unwrap_or("<memballoon model='none'/>");
    let genid = if devices.generation_id { "  <genid/>\n" } else { "" };
    writeln!(xml, "{genid}  <devices>\n    <emulator>{}</emulator>", escaped(&bare.program))?;
    writeln!(xml, "{}    <serial type='pty'/>\n    <audio id='1' type='none'/>\n    {balloon}\n  </devices>", devices.elements)?;
    if as_root {
        xml.push_str("  <seclabel type='static' model='dac' relabel='no'><label>+0:+0</label></seclabel>\n");
    }
    xml.push_str("</domain>\n");
    Ok(Domain { xml, lacking: devices.lacking })
}

/// What `-usb` is on a PC with PCI Express.
const USB_2: &str = "    <controller type='usb' index='0' model='ich9-ehci1'/>
    <controller type='usb' index='0' model='ich9-uhci1'><master startport='0'/></controller>
    <controller type='usb' index='0' model='ich9-uhci2'><master startport='2'/></controller>
    <controller type='usb' index='0' model='ich9-uhci3'><master startport='4'/></controller>
";

#[derive(Default)]
struct Devices {
    elements: String,
    balloon: Option<&'static str>,
    generation_id: bool,
    lacking: Vec<String>,
}

impl Devices {
    fn add(&mut self, device: &str) {
        let (driver, properties) = split(device);
        let name = properties.iter().find_map(|property| property.strip_prefix("name="));
        let element = match (driver, name) {
            // libvirt adds the controller, and the codec of a sound card, by itself.
            ("virtio-serial-pci" | "hda-duplex", _) => return,
            ("vmgenid", _) => {
                self.generation_id = true;
                return;
            }
            ("virtio-balloon-pci", _) => {
                self.balloon = Some("<memballoon model='virtio' autodeflate='on' freePageReporting='on'/>");
                return;
            }
            ("virtio-vga" | "virtio-gpu-pci", _) => "<video><model type='virtio' heads='1' primary='yes'/></video>",
            ("intel-hda", _) => "<sound model='ich6'/>",
            ("ich9-intel-hda", _) => "<sound model='ich9'/>",
            ("qemu-xhci", _) => "<controller type='usb' index='0' model='qemu-xhci'/>",
            ("nec-usb-xhci", _) => "<controller type='usb' index='0' model='nec-xhci'/>",
            ("usb-tablet", _) => "<input type='tablet' bus='usb'/>",
            ("usb-mouse", _) => "<input type='mouse' bus='usb'/>",
            ("usb-kbd", _) => "<input type='keyboard' bus='usb'/>",
            ("virtio-rng-pci", _) => "<rng model='virtio'><backend model='builtin'/></rng>",
            ("virtserialport", Some("com.redhat.spice.0")) => {
                "<channel type='spicevmc'><target type='virtio' name='com.redhat.spice.0'/></channel>"
            }
            ("virtserialport", Some("org.qemu.guest_agent.0")) => {
                "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>"
            }
            _ => return self.lacking.push(driver.to_owned()),
        };
        self.elements.push_str(&format!("    {element}\n"));
    }
}

struct Topology {
    all: u32,
    sockets: u32,
    cores: u32,
    threads: u32,
}

impl Topology {
    /// From the value of `-smp`.
    fn of(value: &str) -> Self {
        let number = |name: &str| value.split(',').find_map(|part| part.strip_prefix(name)?.parse().ok()).unwrap_or(1);
        Self { all: number("cpus="), sockets: number("sockets="), cores: number("cores="), threads: number("threads=") }
    }
}

/// The processor, by the value of `-cpu`.
fn processor(value: Option<&str>, topology: &Topology) -> String {
    let (model, flags) = value.map_or(("", Vec::new()), split);
    let (mode, model) = match model {
        "" => ("", String::new()),
        "max" => (" mode='maximum'", String::new()),
        "host" => (" mode='host-passthrough'", String::new()),
        model => (" mode='custom'", format!("<model>{}</model>", escaped(model))),
    };
    let mut xml =
        format!("  <cpu{mode}>{model}<topology sockets='{}' cores='{}' threads='{}'/>", topology.sockets, topology.cores, topology.threads);
    for flag in flags {
        let (policy, name) =
            match (flag.strip_suffix("=off").or(flag.strip_prefix('-')), flag.strip_suffix("=on").or(flag.strip_prefix('+'))) {
                (Some(name), _) => ("disable", name),
                (None, Some(name)) => ("require", name),
                (None, None) => continue,
            };
        xml.push_str(&format!("<feature policy='{policy}' name='{}'/>", escaped(name)));
    }
    xml.push_str("</cpu>\n");
    xml
}

/// What comes before the first comma, and what comes after it.
fn split(value: &str) -> (&str, Vec<&str>) {
    let mut parts = value.split(',');
    (parts.next().unwrap_or_default(), parts.collect())
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn is_the_machine_of_the_command_line() {
        let line = "-accel tcg -m 512M -cpu max,la57=off -smp cpus=4,sockets=1,cores=2,threads=2 -machine q35,vmport=off -device virtio-vga,id=d \
                    -usb -device usb-kbd,bus=usb-bus.0 -device virtio-rng-pci -device vmgenid,guid=auto -device odd-device -append a<b";
        let words: Vec<&str> = line.split_whitespace().collect();
        let bare = Bare::new(&json!({"program": "/usr/bin/qemu-system-x86_64", "arguments": words})).unwrap();
        let domain = of("bench", &bare, true).unwrap();
        for part in [
            "<domain type='qemu'>",
            "<memory unit='MiB'>512</memory>\n  <vcpu>4</vcpu>",
            "<type arch='x86_64' machine='q35'>hvm</type>",
            "<cmdline>a&lt;b</cmdline>",
            "<vmport state='off'/>",
            "<cpu mode='maximum'><topology sockets='1' cores='2' threads='2'/><feature policy='disable' name='la57'/></cpu>",
            "<genid/>",
            "model='ich9-ehci1'",
            "<model type='virtio'",
            "<memballoon model='none'/>",
            "model='dac'",
        ] {
            assert!(domain.xml.contains(part), "{part} is not in\n{}", domain.xml);
        }
        assert!(!domain.xml.contains("<graphics"));
        assert_eq!(domain.lacking, ["odd-device"]);
    }
}
