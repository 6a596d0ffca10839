//! Guest agent, SPICE agent, shared folder.

use bundle::qemu::DirectoryShareMode;
use bundle::tables;

use super::builder::{Builder, escaped_path};
use super::display::{wants_spice_agent, wants_webdav};
use super::result::{Access, Subject};

pub(super) fn add(b: &mut Builder<'_>) {
    if b.capabilities().agent {
        agents(b);
    }
    folder(b);
}

fn agents(b: &mut Builder<'_>) {
    let Some(bus) = b.virtio_serial(Subject::Sharing) else {
        if b.configuration().sharing.clipboard_sharing {
            let target = b.target();
            b.note("Sharing.ClipboardSharing", format!("the machine {target} has no bus for virtio, so no agent can be reached"));
        }
        return;
    };
    let (fd, path) = b.listening("agent.sock");
    b.option(Subject::Sharing, "-chardev", format!("socket,id=agent,fd={fd},server=on,wait=off"));
    b.device(Subject::Sharing, format!("virtserialport,bus={bus},chardev=agent,id=agent-port,name=org.qemu.guest_agent.0"));
    b.out.sockets.agent = Some(path);
    if !b.spice || !wants_spice_agent(b) {
        return;
    }
    if b.emulator().chardevs.contains("spicevmc") {
        b.option(Subject::Sharing, "-chardev", "spicevmc,id=vdagent,debug=0,name=vdagent");
        b.device(Subject::Sharing, format!("virtserialport,bus={bus},chardev=vdagent,name=com.redhat.spice.0"));
    }
    if wants_webdav(b) && b.emulator().chardevs.contains("spiceport") {
        b.option(Subject::Sharing, "-chardev", "spiceport,id=webdav,name=org.spice-space.webdav.0");
        b.device(Subject::Sharing, format!("virtserialport,bus={bus},chardev=webdav,name=org.spice-space.webdav.0"));
    }
}

/// The folder itself is a path that QEMU opens: 9p has no other way. It is the only one outside the bundle, and the person chose it.
fn folder(b: &mut Builder<'_>) {
    let sharing = &b.configuration().sharing;
    if sharing.directory_share_mode != DirectoryShareMode::VirtFs || !b.capabilities().directory_sharing {
        return;
    }
    let Some(directory) = b.request.shared_directory else { return };
    let target = b.target();
    let Some(device) = b.virtio("9p").filter(|_| b.emulator().has_option("fsdev")) else {
        return b.fixed("Sharing.DirectoryShareMode", format!("the machine {target} cannot share a folder with this QEMU; left out"));
    };
    let access = if sharing.directory_share_read_only { Access::Read } else { Access::ReadWrite };
    b.file(directory, access);
    let read_only = if sharing.directory_share_read_only { ",readonly=on" } else { "" };
    let path = escaped_path(directory);
    b.option(Subject::Sharing, "-fsdev", format!("local,id=virtfs0,path={path},security_model=mapped-xattr{read_only}"));
    let tag = tables::share_tag(target);
    b.device(Subject::Sharing, format!("{device},fsdev=virtfs0,mount_tag={tag}"));
}
