//! Network cards and what they are connected to.
//!
//! User networks are passt where it is installed and can do what the configuration asks: it uses the host's own sockets, routes and
//! resolver, so a VPN or a change of network does not cut the guest off. QEMU's own user network takes the rest: forwarded ports, isolation,
//! other subnets, DHCP and DNS settings. Both give the guest 10.0.2.15, with the host at 10.0.2.2 and DNS at 10.0.2.3.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bundle::Problem;
use bundle::qemu::{Network, NetworkMode, Protocol};

use super::INSTALL;
use super::builder::{Builder, HELPER_FD, escaped, printable};
use super::result::{Confinement, FileAccess, Helper, HelperKind, Subject};
use crate::facts::BusKind;

/// Ports below this need privileges, unless the system says otherwise.
const FIRST_FREE_PORT: u32 = 1024;

pub(super) fn add(b: &mut Builder<'_>) {
    let networks = &b.configuration().networks;
    if networks.is_empty() {
        return b.option(Subject::Network, "-nic", "none");
    }
    for (index, network) in networks.iter().enumerate() {
        let key = format!("Network[{index}]");
        if card(b, index, network, &key) {
            backend(b, index, network, &key);
        }
    }
}

/// Adds a network card. `false` where the machine has no place for it and it is left out, with what it would be connected to.
fn card(b: &mut Builder<'_>, index: usize, network: &Network, key: &str) -> bool {
    let mac = &network.mac_address;
    if !is_mac(mac) {
        let problem = Problem::fatal(format!("{key}.MacAddress"), format!("{} is not a MAC address of one device", printable(mac)));
        b.report(problem.with_hint("write six pairs of hexadecimal digits, the first pair even: 02:00:00:00:00:01"));
        return true;
    }
    let hardware = network.hardware.as_str();
    let key = format!("{key}.Hardware");
    let own = b.request.board.and_then(|board| board.network_card.as_deref());
    // Cards that are soldered to their boards.
    if matches!(hardware, "lance" | "dp8393x") || own == Some(hardware) {
        let model = if hardware == "lance" { "model=lance," } else { "" };
        b.option(Subject::Network, "-net", format!("nic,{model}macaddr={mac},netdev=net{index}"));
        return true;
    }
    if !b.exists(&key, hardware) {
        return true;
    }
    match b.fits(hardware) {
        Ok(()) => {
            let usb = b.emulator().bus_of(hardware) == Some(BusKind::Usb);
            let subject = if usb { Subject::Usb } else { Subject::Network };
            let bus = b.usb_bus.clone().filter(|_| usb).map(|bus| format!(",bus={bus}")).unwrap_or_default();
            b.device(subject, format!("{hardware},mac={mac},netdev=net{index}{bus}"));
            true
        }
        Err(kind) => {
            let target = b.target();
            let own = match (b.request.board, own) {
                (Some(_), None) => {
                    b.fixed(key, format!("the machine {target} has no {} bus for {hardware}; left out", kind.name()));
                    return false;
                }
                (_, Some(own)) => format!("its own {own}"),
                (None, None) => "its own network card, if it has one,".to_owned(),
            };
            b.fixed(key, format!("the machine {target} has no {} bus for {hardware}; {own} is connected instead", kind.name()));
            b.option(Subject::Network, "-net", format!("nic,macaddr={mac},netdev=net{index}"));
            true
        }
    }
}

fn backend(b: &mut Builder<'_>, index: usize, network: &Network, key: &str) {
    match network.mode {
        NetworkMode::Bridged => bridge(b, index, network, key),
        NetworkMode::Host => {
            let message = "the guest reaches nothing, and the host reaches it by forwarded ports only: guests do not see each other";
            b.note(format!("{key}.Mode"), message);
            if network.host_net_uuid.is_some() {
                let problem = Problem::ignored(format!("{key}.HostNetUuid"), "host networks that guests share are not there yet; ignored");
                b.report(problem.with_hint("for guests that see each other choose the mode Bridged and a bridge of their own"));
            }
            user(b, index, network, key, true);
        }
        NetworkMode::Emulated | NetworkMode::Shared => match passt_program(b, network) {
            Some(program) => passt(b, index, network, program),
            None => user(b, index, network, key, network.isolate_from_host),
        },
    }
}

/// passt, where it is there and can do everything that is asked.
fn passt_program(b: &Builder<'_>, network: &Network) -> Option<std::path::PathBuf> {
    let settings = [
        &network.vlan_guest_address,
        &network.vlan_guest_address_ipv6,
        &network.vlan_host_address,
        &network.vlan_host_address_ipv6,
        &network.vlan_dhcp_start_address,
        &network.vlan_dhcp_end_address,
        &network.vlan_dhcp_domain,
        &network.vlan_dns_server_address,
        &network.vlan_dns_server_address_ipv6,
        &network.vlan_dns_search_domain,
    ];
    // Forwarded ports are QEMU's: connections that passt of 2023 (Debian 12) forwards under newer kernels never get an answer from the guest,
    // and which release does is nothing that can be asked.
    let special = settings.into_iter().any(|setting| given(setting).is_some()) || !network.port_forwards.is_empty();
    if network.isolate_from_host || special || !b.emulator().netdevs.contains("stream") {
        return None;
    }
    b.host().passt.clone()
}

fn passt(b: &mut Builder<'_>, index: usize, network: &Network, program: std::path::PathBuf) {
    let mut arguments: Vec<String> = ["--foreground", "--quiet", "--fd"].map(str::to_owned).into();
    arguments.push(HELPER_FD.to_string());
    for pair in [["--address", "10.0.2.15"], ["--netmask", "24"], ["--gateway", "10.0.2.2"], ["--dns-forward", "10.0.2.3"]] {
        arguments.extend(pair.map(str::to_owned));
    }
    if !network.hardware.starts_with("virtio-net") {
        // passt otherwise announces 65520, which emulated hardware cannot do.
        arguments.extend(["--mtu", "1500"].map(str::to_owned));
    }
    arguments.extend(["--tcp-ports", "none", "--udp-ports", "none"].map(str::to_owned));
    let helper = HelperKind::Passt { network: index };
    let fd = b.link(helper.clone());
    b.option(Subject::Network, "-netdev", format!("stream,id=net{index},server=off,addr.type=fd,addr.str={fd}"));
    b.out.helpers.push(Helper {
        kind: helper,
        program,
        arguments,
        working_directory: b.request.paths.runtime.clone(),
        link: Some(HELPER_FD),
        descriptors: Vec::new(),
        confinement: Confinement {
            files: vec![FileAccess::read("/etc/resolv.conf")],
            network: true,
            namespaces: true,
            ..Confinement::default()
        },
    });
}

/// QEMU's own user network.
fn user(b: &mut Builder<'_>, index: usize, network: &Network, key: &str, restrict: bool) {
    if !b.emulator().netdevs.contains("user") {
        let problem = Problem::fatal(
            format!("{key}.Mode"),
            "the installed QEMU has no user network, and passt is missing or cannot do what is asked",
        );
        return b.report(problem.with_hint(format!("{INSTALL} passt")));
    }
    b.out.makes.internet = true;
    let mut value = format!("user,id=net{index}");
    let mut add = |name: &str, text: &str| value.push_str(&format!(",{name}={}", escaped(text)));
    if restrict {
        add("restrict", "on");
    }
    for (name, setting, property, check) in [
        ("VlanGuestAddress", &network.vlan_guest_address, "net", is_network as fn(&str) -> bool),
        ("VlanHostAddress", &network.vlan_host_address, "host", is::<Ipv4Addr>),
        ("VlanGuestAddressIPv6", &network.vlan_guest_address_ipv6, "ipv6-net", is_network_v6),
        ("VlanHostAddressIPv6", &network.vlan_host_address_ipv6, "ipv6-host", is::<Ipv6Addr>),
        ("VlanDhcpStartAddress", &network.vlan_dhcp_start_address, "dhcpstart", is::<Ipv4Addr>),
        ("VlanDnsServerAddress", &network.vlan_dns_server_address, "dns", is::<Ipv4Addr>),
        ("VlanDnsServerAddressIPv6", &network.vlan_dns_server_address_ipv6, "ipv6-dns", is::<Ipv6Addr>),
        ("VlanDhcpDomain", &network.vlan_dhcp_domain, "domainname", is_domain),
    ] {
        match given(setting) {
            None => {}
            Some(text) if check(text) => add(property, text),
            Some(text) => b.fatal(format!("{key}.{name}"), format!("{} cannot be used here", printable(text))),
        }
    }
    // A list, where UTM passes one text: several domains work here.
    for domain in given(&network.vlan_dns_search_domain).unwrap_or_default().split([',', ' ']).filter(|domain| !domain.is_empty()) {
        if is_domain(domain) {
            add("dnssearch", domain);
        } else {
            b.fatal(format!("{key}.VlanDnsSearchDomain"), format!("{} is not a domain", printable(domain)));
        }
    }
    if given(&network.vlan_dhcp_end_address).is_some() {
        b.note(format!("{key}.VlanDhcpEndAddress"), "QEMU's user network has no such setting; ignored");
    }
    for (n, forward) in network.port_forwards.iter().enumerate() {
        let key = format!("{key}.PortForward[{n}]");
        let ports = ports(b, &key, forward.host_port, forward.guest_port);
        let address = listen_address(b, &key, given(&forward.host_address));
        let (Some((host_port, guest_port)), Some(address)) = (ports, address) else { continue };
        let IpAddr::V4(address) = address else {
            b.report(
                Problem::fatal(format!("{key}.HostAddress"), "QEMU's user network forwards IPv4 only")
                    .with_hint("use an IPv4 address, or leave it empty for 127.0.0.1"),
            );
            continue;
        };
        let guest = given(&forward.guest_address).unwrap_or_default();
        if !guest.is_empty() && !is::<Ipv4Addr>(guest) {
            b.fatal(format!("{key}.GuestAddress"), format!("{} is not an IPv4 address", printable(guest)));
            continue;
        }
        let protocol = if forward.protocol == Protocol::Tcp { "tcp" } else { "udp" };
        value.push_str(&format!(",hostfwd={protocol}:{address}:{host_port}-{guest}:{guest_port}"));
    }
    b.option(Subject::Network, "-netdev", value);
}

fn bridge(b: &mut Builder<'_>, index: usize, network: &Network, key: &str) {
    let bridge = given(&network.bridge_interface).unwrap_or("br0").to_owned();
    // The kernel's limit for names of interfaces.
    if bridge.len() > 15 || bridge.contains(|c: char| c.is_whitespace() || c == '/' || c == ',') {
        return b.fatal(format!("{key}.BridgeInterface"), format!("{} is not the name of a bridge", printable(&bridge)));
    }
    let Some(program) = b.host().bridge_helper.clone() else {
        let problem = Problem::fatal(format!("{key}.Mode"), "qemu-bridge-helper, which connects a machine to a bridge, is missing");
        return b.report(problem.with_hint(format!("{INSTALL} qemu-system-common (Debian, Ubuntu), or choose the mode Shared")));
    };
    if !b.emulator().netdevs.contains("tap") {
        return b.fatal(format!("{key}.Mode"), "the installed QEMU cannot use a tap");
    }
    // Started all the same, the guest would reach what it is meant to be kept from.
    if network.isolate_from_host {
        let problem = Problem::fatal(format!("{key}.IsolateFromHost"), "a guest on a bridge cannot be isolated from this computer");
        b.report(problem.with_hint("choose the mode Shared (NAT), which can isolate it, or switch IsolateFromHost off"));
    }
    if !network.port_forwards.is_empty() {
        b.note(format!("{key}.PortForward"), "a bridged guest has an address of its own; forwarded ports are ignored");
    }
    b.out.helpers.push(Helper {
        kind: HelperKind::Bridge { network: index },
        program,
        arguments: vec!["--use-vnet".to_owned(), format!("--br={bridge}")],
        working_directory: b.request.paths.runtime.clone(),
        link: None,
        descriptors: Vec::new(),
        confinement: Confinement { network: true, privileged: true, ..Confinement::default() },
    });
    let fd = b.tap(index, bridge);
    b.option(Subject::Network, "-netdev", format!("tap,id=net{index},fd={fd}"));
}

/// Both ports, if they can be.
fn ports(b: &mut Builder<'_>, key: &str, host: u32, guest: u32) -> Option<(u16, u16)> {
    let mut check = |name: &str, port: u32| match u16::try_from(port) {
        Ok(port) if port > 0 => Some(port),
        _ => {
            b.fatal(format!("{key}.{name}"), format!("{port} is not a port"));
            None
        }
    };
    let (host_port, guest_port) = (check("HostPort", host), check("GuestPort", guest));
    if host_port.is_some() && host < FIRST_FREE_PORT {
        b.note(format!("{key}.HostPort"), format!("port {host} of the host usually needs privileges; use {FIRST_FREE_PORT} or more"));
    }
    host_port.zip(guest_port)
}

/// The address to listen on: this computer only, unless the configuration names one.
fn listen_address(b: &mut Builder<'_>, key: &str, address: Option<&str>) -> Option<IpAddr> {
    let Some(text) = address else {
        let problem = Problem::ignored(format!("{key}.HostAddress"), "listens on 127.0.0.1");
        b.report(problem.with_hint("set 0.0.0.0 to let other computers connect"));
        return Some(Ipv4Addr::LOCALHOST.into());
    };
    match text.parse() {
        Ok(address) => Some(address),
        Err(_) => {
            let problem = Problem::fatal(format!("{key}.HostAddress"), format!("{} is not an IP address", printable(text)));
            b.report(problem.with_hint("0.0.0.0 means all addresses, 127.0.0.1 this computer only"));
            None
        }
    }
}

fn given(setting: &Option<String>) -> Option<&str> {
    setting.as_deref().map(str::trim).filter(|text| !text.is_empty())
}

fn is<T: std::str::FromStr>(text: &str) -> bool {
    text.parse::<T>().is_ok()
}

/// `a.b.c.d`, with a prefix or a mask.
fn is_network(text: &str) -> bool {
    match text.split_once('/') {
        None => is::<Ipv4Addr>(text),
        Some((address, length)) => {
            is::<Ipv4Addr>(address) && (is::<Ipv4Addr>(length) || length.parse::<u8>().is_ok_and(|length| length < 32))
        }
    }
}

fn is_network_v6(text: &str) -> bool {
    match text.split_once('/') {
        None => is::<Ipv6Addr>(text),
        Some((address, length)) => is::<Ipv6Addr>(address) && length.parse::<u8>().is_ok_and(|length| length <= 126),
    }
}

fn is_domain(text: &str) -> bool {
    text.len() <= 253 && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
}

fn is_mac(text: &str) -> bool {
    let pairs: Vec<&str> = text.split(':').collect();
    let byte =
        |pair: &&str| (pair.len() == 2 && pair.bytes().all(|c| c.is_ascii_hexdigit())).then(|| u8::from_str_radix(pair, 16).ok()).flatten();
    pairs.len() == 6 && pairs.iter().all(|pair| byte(pair).is_some()) && pairs.first().and_then(byte).is_some_and(|first| first & 1 == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_and_addresses_are_checked() {
        assert!(is_network("10.1.0.0/16") && is_network("10.1.0.0/255.255.0.0") && is_network("10.1.0.0"));
        assert!(!is_network("10.1.0.0/40") && !is_network("10.1.0/8") && !is_network(""));
        assert!(is_network_v6("fd00::/64") && !is_network_v6("fd00::/300"));
        assert!(is_mac("02:aB:00:00:00:01") && !is_mac("03:00:00:00:00:01") && !is_mac("02:00:00:00:00") && !is_mac("02:00:00:00:00:+1"));
        assert!(!is_domain("a,b") && is_domain("example.org"));
    }
}
