//! The USB devices of this computer, as the kernel lists them in `/sys/bus/usb/devices`, and opening one.
//!
//! The process that passes a device on may open none: it gets the one that a person chose, as a descriptor.

use machine::exchange::UsbDevice;
use machine::{Error, ErrorKind, Result};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Most devices that are listed: 127 on each of sixteen buses.
const MAX_DEVICES: usize = 2032;
/// Longest text of a device that is believed.
const MAX_TEXT: u64 = 512;
/// The class of hubs (`bDeviceClass`, USB 2.0 specification, 11.23.1).
const HUB: u8 = 0x09;

/// Where devices are.
#[derive(Debug, Clone)]
pub struct Bus {
    /// What is usually `/sys/bus/usb/devices`.
    pub listed: PathBuf,
    /// What is usually `/dev/bus/usb`.
    pub nodes: PathBuf,
    /// What is usually `/proc/self/mounts`.
    pub mounts: PathBuf,
}

impl Default for Bus {
    fn default() -> Self {
        Self { listed: "/sys/bus/usb/devices".into(), nodes: "/dev/bus/usb".into(), mounts: "/proc/self/mounts".into() }
    }
}

/// A file of one line.
fn text(device: &Path, name: &str) -> Option<String> {
    let mut text = String::new();
    File::open(device.join(name)).ok()?.take(MAX_TEXT).read_to_string(&mut text).ok()?;
    // A device says of itself what it likes.
    let printable: String = text.trim().chars().map(|character| if character.is_control() { ' ' } else { character }).collect();
    Some(printable).filter(|text| !text.is_empty())
}

fn hexadecimal(device: &Path, name: &str) -> Option<u16> {
    u16::from_str_radix(&text(device, name)?, 16).ok()
}

impl Bus {
    /// The devices that a person would call so, in the order of their places; the hubs of the computer itself are not among them.
    ///
    /// # Errors
    /// Where they cannot be listed. A computer without USB has none.
    pub fn list(&self) -> Result<Vec<UsbDevice>> {
        let entries = match fs::read_dir(&self.listed) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::new(ErrorKind::File, "Cannot list the USB devices").with_source(error)),
        };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut devices: Vec<_> = names.filter(|name| is_device(name)).take(MAX_DEVICES).filter_map(|name| self.device(&name)).collect();
        devices.sort_by(|one, other| one.id.cmp(&other.id));
        Ok(devices)
    }

    /// A device by its place, or by its numbers (`VENDOR:PRODUCT`) where there is one such.
    ///
    /// # Errors
    /// Where there is none, or more than one.
    pub fn find(&self, wanted: &str) -> Result<UsbDevice> {
        let numbers = |device: &UsbDevice| format!("{:04x}:{:04x}", device.vendor, device.product);
        let devices = self.list()?;
        let by_place = devices.iter().position(|device| device.id == wanted);
        let mut alike = devices.iter().enumerate().filter(|(_, device)| numbers(device).eq_ignore_ascii_case(wanted));
        let found = match (by_place, alike.next(), alike.next()) {
            (Some(place), ..) => place,
            (None, Some((place, _)), None) => place,
            (None, Some((_, one)), Some((_, other))) => {
                let message = format!("Several USB devices are {wanted}: {} and {}", one.id, other.id);
                return Err(Error::new(ErrorKind::NotFound, message).with_hint("name the place of the one that you mean"));
            }
            (None, None, _) => {
                return Err(Error::new(ErrorKind::NotFound, format!("There is no USB device {wanted}")).with_hint("`viv usb` lists them"));
            }
        };
        devices.into_iter().nth(found).ok_or_else(|| Error::new(ErrorKind::NotFound, "There is no such USB device"))
    }

    fn device(&self, id: &str) -> Option<UsbDevice> {
        let device = self.listed.join(id);
        let (vendor, product) = (hexadecimal(&device, "idVendor")?, hexadecimal(&device, "idProduct")?);
        let said = [text(&device, "manufacturer"), text(&device, "product")].into_iter().flatten().collect::<Vec<_>>().join(" ");
        let name = if said.is_empty() { format!("USB device {vendor:04x}:{product:04x}") } else { said };
        let refused = self.refused(&device);
        Some(UsbDevice { id: id.to_owned(), vendor, product, name, serial: text(&device, "serial"), attached: false, refused })
    }

    fn refused(&self, device: &Path) -> Option<String> {
        let class = text(device, "bDeviceClass").and_then(|class| u8::from_str_radix(&class, 16).ok());
        if class == Some(HUB) {
            return Some("it is a hub; attach what is plugged into it".into());
        }
        let mounted = self.mounted(device)?;
        Some(format!("this computer has its file system mounted at {mounted}; unmount it first"))
    }

    /// Where a file system of the device is mounted: two that write to it would ruin it.
    fn mounted(&self, device: &Path) -> Option<String> {
        let disks = block_devices(device, 0);
        if disks.is_empty() {
            return None;
        }
        let mounts = fs::read_to_string(&self.mounts).ok()?;
        mounts.lines().find_map(|line| {
            let mut words = line.split(' ');
            let (source, place) = (words.next()?, words.next()?);
            let name = source.strip_prefix("/dev/")?;
            disks.iter().any(|disk| name == disk).then(|| place.replace("\\040", " "))
        })
    }

    /// Opens a device to be passed on.
    ///
    /// # Errors
    /// Where it is gone, or one may not.
    pub fn open(&self, device: &UsbDevice) -> Result<OwnedFd> {
        let place = self.listed.join(&device.id);
        let number = |name: &str| text(&place, name).and_then(|text| text.parse::<u16>().ok());
        let (Some(bus), Some(address)) = (number("busnum"), number("devnum")) else {
            return Err(Error::new(ErrorKind::NotFound, format!("The USB device {} is gone", device.id)));
        };
        let node = self.nodes.join(format!("{bus:03}/{address:03}"));
        let opened = OpenOptions::new().read(true).write(true).custom_flags(libc_nonblock()).open(&node);
        opened.map(Into::into).map_err(|error| {
            let denied = error.kind() == io::ErrorKind::PermissionDenied;
            let failed =
                Error::new(ErrorKind::File, format!("Cannot open the USB device {} ({})", device.id, device.name)).with_source(error);
            if denied {
                let (vendor, product) = (device.vendor, device.product);
                failed.with_hint(format!(
                    "let people at this computer use it: as root, write `SUBSYSTEM==\"usb\", ATTR{{idVendor}}==\"{vendor:04x}\", \
                     ATTR{{idProduct}}==\"{product:04x}\", TAG+=\"uaccess\"` to /etc/udev/rules.d/70-vivarium.rules and plug it in again"
                ))
            } else {
                failed
            }
        })
    }
}

const fn libc_nonblock() -> i32 {
    rustix::fs::OFlags::NONBLOCK.bits().cast_signed()
}

/// Whether it is a device (`1-2.4`), not the computer's own (`usb1`) or an interface of one (`1-2:1.0`).
fn is_device(name: &str) -> bool {
    name.len() <= 32 && name.contains('-') && name.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b'.'))
}

/// Names of the disks and partitions below a device.
fn block_devices(folder: &Path, depth: usize) -> Vec<String> {
    // interface / host / target / unit / block / disk / partition
    if depth > 8 {
        return Vec::new();
    }
    let below = fs::read_dir(folder).into_iter().flatten().filter_map(io::Result::ok).take(256);
    let folders = below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path());
    let inside_block = folder.ancestors().take(3).any(|ancestor| ancestor.file_name().is_some_and(|name| name == "block"));
    folders
        .flat_map(|path| {
            let name =
                path.file_name().map(|name| name.to_string_lossy().into_owned()).filter(|_| inside_block && path.join("dev").is_file());
            name.into_iter().chain(block_devices(&path, depth + 1)).collect::<Vec<_>>()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn bus(folder: &Path, devices: &[(&str, &[(&str, &str)])]) -> Bus {
        let bus = Bus { listed: folder.join("devices"), nodes: folder.join("nodes"), mounts: folder.join("mounts") };
        for (name, files) in devices {
            fs::create_dir_all(bus.listed.join(name)).unwrap();
            for (file, said) in *files {
                fs::write(bus.listed.join(name).join(file), format!("{said}\n")).unwrap();
            }
        }
        bus
    }

    const STICK: &[(&str, &str)] = &[
        ("idVendor", "0781"),
        ("idProduct", "5567"),
        ("manufacturer", "San\u{1b}Disk"),
        ("product", "Cruzer"),
        ("serial", "2005"),
        ("busnum", "1"),
        ("devnum", "7"),
        ("bDeviceClass", "00"),
    ];

    #[test]
    fn devices_are_listed_as_people_know_them() {
        let folder = tempfile::tempdir().unwrap();
        let hub = &[("idVendor", "05e3"), ("idProduct", "0608"), ("bDeviceClass", "09")];
        let broken = &[("idVendor", "zzzz"), ("idProduct", "0608")];
        let devices: [(&str, &[(&str, &str)]); 5] = [("usb1", hub), ("1-2", hub), ("1-2.4", STICK), ("1-2.4:1.0", STICK), ("1-9", broken)];
        let bus = bus(folder.path(), &devices);
        let listed: BTreeMap<_, _> = bus.list().unwrap().into_iter().map(|device| (device.id.clone(), device)).collect();
        assert_eq!(listed.keys().collect::<Vec<_>>(), ["1-2", "1-2.4"]);
        let stick = &listed["1-2.4"];
        assert_eq!((stick.vendor, stick.product, stick.serial.as_deref()), (0x0781, 0x5567, Some("2005")));
        // What a device says of itself ends up on terminals.
        assert_eq!(stick.name, "San Disk Cruzer");
        assert_eq!(stick.refused, None);
        assert!(listed["1-2"].refused.as_ref().unwrap().contains("hub"));
        assert_eq!(bus.find("0781:5567").unwrap().id, "1-2.4");
        assert_eq!(bus.find("1-7").unwrap_err().kind(), ErrorKind::NotFound);
        assert!(Bus { listed: folder.path().join("none"), ..bus }.list().unwrap().is_empty());
    }

    #[test]
    fn a_mounted_disk_is_not_given_away() {
        let folder = tempfile::tempdir().unwrap();
        let bus = bus(folder.path(), &[("1-3", STICK)]);
        let partition = bus.listed.join("1-3/1-3:1.0/host6/target6:0:0/6:0:0:0/block/sdb/sdb1");
        fs::create_dir_all(&partition).unwrap();
        fs::write(partition.join("dev"), "8:17\n").unwrap();
        fs::write(&bus.mounts, "/dev/sda1 / ext4 rw 0 0\n/dev/sdb1 /media/My\\040stick vfat rw 0 0\n").unwrap();
        assert!(bus.find("1-3").unwrap().refused.unwrap().contains("/media/My stick"));
        fs::write(&bus.mounts, "/dev/sda1 / ext4 rw 0 0\n").unwrap();
        assert_eq!(bus.find("1-3").unwrap().refused, None);
    }

    #[test]
    fn the_node_of_a_device_is_opened() {
        let folder = tempfile::tempdir().unwrap();
        let bus = bus(folder.path(), &[("1-3", STICK)]);
        let stick = bus.find("1-3").unwrap();
        assert_eq!(bus.open(&stick).unwrap_err().kind(), ErrorKind::File);
        fs::create_dir_all(bus.nodes.join("001")).unwrap();
        fs::write(bus.nodes.join("001/007"), "device").unwrap();
        bus.open(&stick).unwrap();
        fs::remove_dir_all(bus.listed.join("1-3")).unwrap();
        assert_eq!(bus.open(&stick).unwrap_err().kind(), ErrorKind::NotFound);
    }
}
