//! The guest agent's commands that a manager of machines uses. Others go by name.

use serde::{Deserialize, Serialize};

use crate::command::{Command, Nothing};

/// Asks whether the agent is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Ping {}

impl Command for Ping {
    const NAME: &'static str = "guest-ping";
    type Return = Nothing;
}

/// Asks for the agent's version and commands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Info {}

impl Command for Info {
    const NAME: &'static str = "guest-info";
    type Return = InfoReturn;
}

/// What an agent is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct InfoReturn {
    /// Its version.
    pub version: String,
    /// What it can be asked.
    #[serde(default)]
    pub supported_commands: Vec<SupportedCommand>,
}

/// One command of an agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct SupportedCommand {
    /// Its name.
    pub name: String,
    /// Whether the guest's administrator allows it.
    pub enabled: bool,
    /// Whether it answers when it succeeds.
    #[serde(default, rename = "success-response")]
    pub success_response: bool,
}

/// Asks for the guest's network interfaces and their addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct NetworkGetInterfaces {}

impl Command for NetworkGetInterfaces {
    const NAME: &'static str = "guest-network-get-interfaces";
    type Return = Vec<NetworkInterface>;
}

/// One interface of the guest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct NetworkInterface {
    /// The guest's name for it, such as `eth0`.
    pub name: String,
    /// Its MAC address.
    #[serde(rename = "hardware-address")]
    pub hardware_address: Option<String>,
    /// Its addresses.
    #[serde(default, rename = "ip-addresses")]
    pub ip_addresses: Vec<IpAddress>,
}

/// One address of an interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct IpAddress {
    /// The address as text; the guest's claim.
    #[serde(rename = "ip-address")]
    pub ip_address: String,
    /// `ipv4` or `ipv6`.
    #[serde(rename = "ip-address-type")]
    pub ip_address_type: String,
    /// Length of the network prefix in bits.
    pub prefix: i64,
}

/// Asks which operating system the guest runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct GetOsInfo {}

impl Command for GetOsInfo {
    const NAME: &'static str = "guest-get-osinfo";
    type Return = OsInfo;
}

/// The guest's operating system, in its own words. Each may be absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct OsInfo {
    /// A short name, such as `debian` or `mswindows`.
    pub id: Option<String>,
    /// The name.
    pub name: Option<String>,
    /// The name with the version.
    #[serde(rename = "pretty-name")]
    pub pretty_name: Option<String>,
    /// The version as text.
    pub version: Option<String>,
    /// The version as a number.
    #[serde(rename = "version-id")]
    pub version_id: Option<String>,
    /// The kernel's release.
    #[serde(rename = "kernel-release")]
    pub kernel_release: Option<String>,
    /// The processor architecture, such as `x86_64`.
    pub machine: Option<String>,
}

/// Asks for the guest's name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct GetHostName {}

impl Command for GetHostName {
    const NAME: &'static str = "guest-get-host-name";
    type Return = HostName;
}

/// The guest's name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct HostName {
    /// As the guest says it.
    #[serde(rename = "host-name")]
    pub host_name: String,
}

/// Sets the guest's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SetTime {
    /// Nanoseconds since 1970; from the guest's hardware clock when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<i64>,
}

impl Command for SetTime {
    const NAME: &'static str = "guest-set-time";
    type Return = Nothing;
}
