//! A [`Confinement`] as Landlock rules.

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, NetPort, PathBeneath, PathFd, PathFdError, Ruleset, RulesetAttr, RulesetCreated,
    RulesetCreatedAttr, RulesetError, Scope,
};

use crate::{Confinement, Tcp};

/// Why the rules could not be made or applied.
pub enum RuleError {
    /// A path could not be opened.
    Path(PathBuf, std::io::Error),
    /// The kernel refused a rule.
    Rules(RulesetError),
}

impl<E: Into<RulesetError>> From<E> for RuleError {
    fn from(error: E) -> Self {
        Self::Rules(error.into())
    }
}

/// Confines this thread for good. `program` may be executed besides what `confinement` lists. `abi` is what the kernel has.
pub fn restrict(confinement: &Confinement, program: &[&Path], abi: u32) -> Result<(), RuleError> {
    // Rights that this kernel knows, so that nothing below depends on how the crate treats those that it does not.
    let abi = ABI::from(i32::try_from(abi).unwrap_or(i32::MAX));
    let known = AccessFs::from_all(abi);
    let mut ruleset = Ruleset::default().handle_access(known)?;
    let ports = match &confinement.tcp {
        Tcp::AllowAll => None,
        Tcp::Deny => Some((&[][..], &[][..])),
        Tcp::Ports { bind, connect } => Some((bind.as_slice(), connect.as_slice())),
    }
    .filter(|_| abi >= ABI::V4);
    if ports.is_some() {
        ruleset = ruleset.handle_access(AccessNet::BindTcp)?.handle_access(AccessNet::ConnectTcp)?;
    }
    if abi >= ABI::V6 {
        ruleset = ruleset.scope(Scope::AbstractUnixSocket)?;
        if confinement.scope_signals {
            ruleset = ruleset.scope(Scope::Signal)?;
        }
    }
    let mut created = ruleset.create()?;

    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let execute = read | AccessFs::Execute;
    let write = !(BitFlags::from(AccessFs::Execute) | AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::IoctlDev);
    let control = read | AccessFs::WriteFile | AccessFs::IoctlDev;
    for (paths, access) in
        [(&confinement.read, read), (&confinement.write, write), (&confinement.execute, execute), (&confinement.devices, control)]
    {
        for path in paths {
            created = allow(created, path, access & known, abi)?;
        }
    }
    for path in program {
        created = allow(created, path, execute & known, abi)?;
    }
    if let Some((bind, connect)) = ports {
        for port in bind {
            created = created.add_rule(NetPort::new(*port, AccessNet::BindTcp))?;
        }
        for port in connect {
            created = created.add_rule(NetPort::new(*port, AccessNet::ConnectTcp))?;
        }
    }
    created.restrict_self()?;
    Ok(())
}

fn allow(created: RulesetCreated, path: &Path, access: BitFlags<AccessFs>, abi: ABI) -> Result<RulesetCreated, RuleError> {
    let failed = |source| RuleError::Path(path.to_owned(), source);
    let descriptor = PathFd::new(path).map_err(|error| match error {
        PathFdError::OpenCall { source, .. } => failed(source),
        other => failed(std::io::Error::other(other.to_string())),
    })?;
    let kind = rustix::fs::fstat(&descriptor).map_err(|errno| failed(errno.into()))?.st_mode;
    let access = if rustix::fs::FileType::from_raw_mode(kind).is_dir() { access } else { access & AccessFs::from_file(abi) };
    Ok(created.add_rule(PathBeneath::new(descriptor, access))?)
}
