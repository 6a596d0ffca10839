//! [`Sockets`] as a seccomp filter.
//!
//! The filter lets every call pass but the few that make sockets or point them somewhere. It is a wall beside Landlock, not a list of the
//! calls that a program needs: that is the program's own business (QEMU has `-sandbox`).

use std::collections::BTreeMap;
use std::io;

use seccompiler::{BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch};

use crate::{Sockets, sys};

/// The kernel's x32 calls on x86-64 are the same ones with this bit set (asm/unistd.h).
const X32: i64 = 0x4000_0000;
/// The low bits of a socket's type; above them are flags (linux/net.h).
const TYPE_MASK: u64 = 0xf;

/// Whether this kernel and processor can filter system calls.
pub fn supported() -> bool {
    TargetArch::try_from(std::env::consts::ARCH).is_ok() && sys::has_seccomp()
}

/// Filters this thread's calls for good.
///
/// # Errors
///
/// What the kernel says.
pub fn restrict(sockets: Sockets) -> io::Result<()> {
    let rules = rules(sockets).map_err(io::Error::other)?;
    if rules.is_empty() {
        return Ok(());
    }
    let architecture = TargetArch::try_from(std::env::consts::ARCH).map_err(io::Error::other)?;
    let refuse = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, architecture).map_err(io::Error::other)?;
    let program = BpfProgram::try_from(filter).map_err(io::Error::other)?;
    seccompiler::apply_filter(&program).map_err(io::Error::other)
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// The calls that are refused, with the conditions under which they are; without a condition, always.
fn rules(sockets: Sockets) -> seccompiler::Result<Rules> {
    let datagrams = || -> seccompiler::Result<Vec<SeccompRule>> {
        // The kernel makes a Unix datagram socket of a "raw" one.
        [libc::SOCK_DGRAM, libc::SOCK_RAW].into_iter().map(|kind| all([is_type(kind)?])).collect()
    };
    let mut rules = Rules::new();
    match sockets {
        Sockets::Any => return Ok(rules),
        Sockets::Inherited => {
            rules.insert(libc::SYS_socket, Vec::new());
            rules.insert(libc::SYS_connect, Vec::new());
        }
        Sockets::DeviceEvents => {
            let other = all([is_not(0, libc::AF_NETLINK)?])?;
            let other_netlink = all([is(0, libc::AF_NETLINK)?, is_not(2, libc::NETLINK_KOBJECT_UEVENT)?])?;
            rules.insert(libc::SYS_socket, vec![other, other_netlink]);
            rules.insert(libc::SYS_connect, Vec::new());
        }
        Sockets::Internet => {
            let other = all([is_not(0, libc::AF_INET)?, is_not(0, libc::AF_INET6)?, is_not(0, libc::AF_NETLINK)?])?;
            let other_netlink = all([is(0, libc::AF_NETLINK)?, is_not(2, libc::NETLINK_ROUTE)?])?;
            rules.insert(libc::SYS_socket, vec![other, other_netlink]);
        }
    }
    rules.insert(libc::SYS_socketpair, datagrams()?);
    // Its operations make and connect sockets without a call that a filter sees.
    rules.insert(libc::SYS_io_uring_setup, Vec::new());
    if cfg!(target_arch = "x86_64") {
        let twins: Rules = rules.iter().map(|(call, rule)| (call | X32, rule.clone())).collect();
        rules.extend(twins);
    }
    Ok(rules)
}

fn all<const N: usize>(conditions: [SeccompCondition; N]) -> seccompiler::Result<SeccompRule> {
    Ok(SeccompRule::new(conditions.into())?)
}

fn condition(argument: u8, operator: SeccompCmpOp, value: i32) -> seccompiler::Result<SeccompCondition> {
    Ok(SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, u64::from(value.unsigned_abs()))?)
}

fn is(argument: u8, value: i32) -> seccompiler::Result<SeccompCondition> {
    condition(argument, SeccompCmpOp::Eq, value)
}

fn is_not(argument: u8, value: i32) -> seccompiler::Result<SeccompCondition> {
    condition(argument, SeccompCmpOp::Ne, value)
}

fn is_type(kind: i32) -> seccompiler::Result<SeccompCondition> {
    condition(1, SeccompCmpOp::MaskedEq(TYPE_MASK), kind)
}
