//! The launcher's side: confines this process as its specification says and becomes the program.

use std::io::{self, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use rustix::fs::Mode;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use rustix::process::{Resource, Rlimit};

use crate::landlock_rules::{self, RuleError};
use crate::wire::{self, Failure, Report, Specification};
use crate::{Applied, Limits, Requirement, Sockets, Step, descriptors, interpreter, socket_filter, support, sys};

enum Trouble {
    NoLandlock,
    Failed(Failure),
}

impl Trouble {
    fn at(step: Step) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::on(step, None, &error)
    }

    fn on(step: Step, path: Option<PathBuf>, error: &io::Error) -> Self {
        Self::Failed(Failure { step, path, errno: error.raw_os_error(), detail: error.to_string() })
    }
}

/// The whole of `vivarium-launch`: returns only when the program could not be started.
#[must_use]
pub fn run() -> ExitCode {
    let Ok(control) = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3) else { return usage() };
    if rustix::net::sockopt::socket_type(&control).is_err() {
        return usage();
    }
    let mut control = UnixStream::from(control);
    let Err(trouble) = launch(&mut control);
    let report = match trouble {
        Trouble::NoLandlock => Report::NoLandlock,
        Trouble::Failed(failure) => Report::Failed(failure),
    };
    // There is nobody left to tell when this fails: the other side sees the end of the conversation.
    let _ = tell(&mut control, &report);
    ExitCode::FAILURE
}

fn usage() -> ExitCode {
    eprintln!("vivarium-launch confines itself and becomes another program; Vivarium starts it, and tells it what to do on standard input");
    ExitCode::from(2)
}

fn tell(control: &mut UnixStream, report: &Report) -> io::Result<()> {
    let mut line = serde_json::to_vec(report)?;
    line.push(b'\n');
    control.write_all(&line)
}

fn launch(control: &mut UnixStream) -> Result<std::convert::Infallible, Trouble> {
    let (specification, received) = receive(control).map_err(Trouble::at(Step::Specification))?;
    let Specification { program, arguments, working_directory, new_session, ends_with_starter, confinement, numbers, .. } = specification;

    if new_session {
        rustix::process::setsid().map_err(|errno| Trouble::at(Step::Session)(errno.into()))?;
    }
    if ends_with_starter {
        // Where the starter has died before this, telling it what was applied fails.
        let signal = Some(rustix::process::Signal::KILL);
        rustix::process::set_parent_process_death_signal(signal).map_err(|errno| Trouble::at(Step::Session)(errno.into()))?;
    }
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    std::env::set_current_dir(&working_directory)
        .map_err(|error| Trouble::on(Step::WorkingDirectory, Some(working_directory.clone()), &error))?;
    descriptors::arrange(received, &numbers, control).map_err(Trouble::at(Step::Descriptors))?;

    rustix::thread::set_no_new_privs(true).map_err(|errno| Trouble::at(Step::NoNewPrivileges)(errno.into()))?;
    let landlock_abi = restrict_files(&confinement, &program)?;
    set_limits(confinement.limits).map_err(|errno| Trouble::at(Step::Limits)(errno.into()))?;
    let missing = missing(&confinement, landlock_abi);
    socket_filter::restrict(confinement.sockets).map_err(Trouble::at(Step::Sockets))?;

    let applied = Applied { landlock_abi, socket_filter: confinement.sockets != Sockets::Any, missing };
    tell(control, &Report::Applied(applied)).map_err(Trouble::at(Step::Execute))?;
    let error = Command::new(&program).args(arguments).env_clear().envs(confinement.environment).exec();
    Err(Trouble::on(Step::Execute, Some(program), &error))
}

/// Reads the specification to its end, and the descriptors that came with its first bytes.
fn receive(control: &mut UnixStream) -> io::Result<(Specification, Vec<OwnedFd>)> {
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(wire::DESCRIPTOR_LIMIT))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut text = vec![0; 64 << 10];
    let message = rustix::net::recvmsg(&*control, &mut [IoSliceMut::new(&mut text)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    text.truncate(message.bytes);
    let mut received = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            received.extend(descriptors);
        }
    }
    control.take(wire::SPECIFICATION_LIMIT).read_to_end(&mut text)?;
    let _ = control.shutdown(Shutdown::Read);
    let specification: Specification = serde_json::from_slice(&text)?;
    if specification.version != wire::VERSION {
        return Err(io::Error::other(format!("This launcher is of version {}, not {}", wire::VERSION, specification.version)));
    }
    if specification.numbers.len() != received.len() {
        return Err(io::Error::other(format!("{} descriptors arrived, not {}", received.len(), specification.numbers.len())));
    }
    Ok((specification, received))
}

fn restrict_files(confinement: &crate::Confinement, program: &std::path::Path) -> Result<Option<u32>, Trouble> {
    if confinement.landlock == Requirement::Off {
        return Ok(None);
    }
    let Some(abi) = sys::landlock_abi() else {
        return if confinement.landlock == Requirement::Require { Err(Trouble::NoLandlock) } else { Ok(None) };
    };
    let interpreter = interpreter::of(program).map_err(|error| Trouble::on(Step::Program, Some(program.to_owned()), &error))?;
    let executed: Vec<_> = std::iter::once(program).chain(interpreter.as_deref()).collect();
    landlock_rules::restrict(confinement, &executed, abi).map_err(|error| match error {
        RuleError::Path(path, error) => Trouble::on(Step::Path, Some(path), &error),
        RuleError::Rules(error) => Trouble::Failed(Failure { step: Step::Landlock, path: None, errno: None, detail: error.to_string() }),
    })?;
    Ok(Some(abi))
}

fn set_limits(limits: Limits) -> rustix::io::Result<()> {
    // Not 0, which still lets the kernel pipe a dump to a crash handler (core(5)).
    let core = limits.core.map(|bytes| bytes.max(1));
    for (resource, limit) in [
        (Resource::Core, core),
        (Resource::Nofile, limits.open_files),
        (Resource::Nproc, limits.processes),
        (Resource::Fsize, limits.file_size),
        (Resource::Data, limits.memory),
    ] {
        if limit.is_some() {
            rustix::process::setrlimit(resource, Rlimit { current: limit, maximum: limit })?;
        }
    }
    Ok(())
}

fn missing(confinement: &crate::Confinement, landlock_abi: Option<u32>) -> Vec<String> {
    let mut missing = match confinement.landlock {
        Requirement::Off => vec!["files, ports and signals are not restricted: Landlock is off for this program".to_owned()],
        _ => support::missing(landlock_abi),
    };
    // ABI 9, Linux 7.1.
    if confinement.sockets == Sockets::Any && landlock_abi.is_none_or(|abi| abi < 9) {
        missing.push("other programs' Unix sockets can be connected to: needs Linux 7.1, or fewer sockets".to_owned());
    }
    missing
}
