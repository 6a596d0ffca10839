//! The network card of a QEMU machine of UTM before 4.0, which had one or none.

use super::identity::Identity;
use super::reader::{Reader, unknown};
use crate::qemu::{Network, NetworkMode, PortForward, Protocol};

/// Reads the section `Networking`.
pub(super) fn network(reader: &mut Reader<'_>, identity: Identity) -> Option<Network> {
    let mode = mode(reader);
    reader.dropped("DHCPHost", "there is no such setting any more");
    let network = Network {
        mode: mode.unwrap_or(NetworkMode::Emulated),
        hardware: reader.filled("NetworkCard").unwrap_or_else(|| "rtl8139".to_owned()),
        mac_address: reader.filled("NetworkCardMAC").unwrap_or_else(|| identity.mac_address("network")),
        isolate_from_host: reader.boolean("IsolateGuest").unwrap_or(false),
        port_forwards: reader.sections("PortForward", |_, reader| port_forward(reader)).into_iter().flatten().collect(),
        bridge_interface: reader.filled("NetworkBridgeInterface"),
        vlan_guest_address: reader.filled("IPSubnet"),
        vlan_guest_address_ipv6: reader.filled("IPv6Subnet"),
        vlan_host_address: reader.filled("IPHost"),
        vlan_host_address_ipv6: reader.filled("IPv6Host"),
        vlan_dhcp_start_address: reader.filled("DHCPStart"),
        vlan_dhcp_domain: reader.filled("DHCPDomain"),
        vlan_dns_server_address: reader.filled("IPDNS"),
        vlan_dns_server_address_ipv6: reader.filled("IPv6DNS"),
        vlan_dns_search_domain: reader.filled("DNSSearch"),
        ..Network::default()
    };
    mode.map(|_| network)
}

fn mode(reader: &mut Reader<'_>) -> Option<NetworkMode> {
    let named = reader.filled("NetworkMode");
    // The oldest versions had only this switch; where it is, it decides.
    if let Some(enabled) = reader.boolean("NetworkEnabled") {
        return enabled.then_some(NetworkMode::Emulated);
    }
    match named.as_deref() {
        None | Some("none") => None,
        Some("emulated") => Some(NetworkMode::Emulated),
        Some("shared") => Some(NetworkMode::Shared),
        Some("host") => Some(NetworkMode::Host),
        Some("bridged") => Some(NetworkMode::Bridged),
        Some(other) => {
            reader.fixed("NetworkMode", unknown(other, "there is no network"));
            None
        }
    }
}

fn port_forward(reader: &mut Reader<'_>) -> Option<PortForward> {
    let protocol = match reader.filled("Protocol").as_deref() {
        None | Some("tcp" | "TCP") => Protocol::Tcp,
        Some("udp" | "UDP") => Protocol::Udp,
        Some(other) => {
            reader.fixed("Protocol", unknown(other, "TCP stands in"));
            Protocol::Tcp
        }
    };
    let host_address = reader.filled("HostAddress");
    let guest_address = reader.filled("GuestAddress");
    let (host_port, guest_port) = (reader.small("HostPort"), reader.small("GuestPort"));
    let Some(guest_port) = guest_port else {
        reader.fixed("GuestPort", "port forward without a port of the guest is left out");
        return None;
    };
    let host_port = host_port.unwrap_or_else(|| {
        reader.fixed("HostPort", "port of the host is missing; the guest's stands in");
        guest_port
    });
    Some(PortForward { protocol, host_address, host_port, guest_address, guest_port, ..PortForward::default() })
}
