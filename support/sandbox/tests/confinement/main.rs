//! Programs really are confined: a probe is started through the launcher, tries things and says how they went.
//!
//! The probe is this very test program, asked to run one ignored test that takes its orders from the environment.

mod probe;

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sandbox::{Applied, Confinement, Exit, Launch, LaunchError, Requirement, Sockets, Started, Stdio, Step, Tcp};
use tempfile::TempDir;

const DENIED: &str = "EACCES";
const REFUSED: &str = "EPERM";

fn launcher() -> PathBuf {
    env!("CARGO_BIN_EXE_vivarium-launch").into()
}

/// A launch of the probe, which shall do `orders` (see [`probe`]).
fn probe(mut confinement: Confinement, orders: &[String]) -> Result<Launch> {
    confinement.environment.push((probe::ORDERS.to_owned(), orders.join("\n")));
    let mut launch = Launch::new(std::env::current_exe()?, confinement);
    launch.arguments = ["probe::obey", "--exact", "--ignored", "--nocapture", "--test-threads=1"].map(Into::into).to_vec();
    Ok(launch)
}

/// Runs the probe to its end: what it answered to each order, and how it was confined.
fn run(mut launch: Launch) -> Result<(HashMap<String, String>, Applied)> {
    let mut output = tempfile::tempfile()?;
    launch.stdout = output.try_clone()?.into();
    launch.stderr = output.try_clone()?.into();
    let Started { process, applied } = sandbox::spawn(&launcher(), launch)?;
    let exit = process.wait(None)?.context("Still running")?;
    let mut text = String::new();
    output.seek(SeekFrom::Start(0))?;
    output.read_to_string(&mut text)?;
    anyhow::ensure!(exit == Exit::Code(0), "The probe {exit}: {text}");
    let answers = text
        .lines()
        .filter_map(|line| line.strip_prefix(probe::ANSWER)?.split_once(" => "))
        .map(|(order, answer)| (order.to_owned(), answer.to_owned()));
    Ok((answers.collect(), applied))
}

/// Runs the probe with `orders` and compares each answer.
fn expect(confinement: Confinement, orders: &[(String, &str)]) -> Result<Applied> {
    let asked: Vec<String> = orders.iter().map(|(order, _)| order.clone()).collect();
    let (answers, applied) = run(probe(confinement, &asked)?)?;
    for (order, wanted) in orders {
        assert_eq!(answers.get(order).map(String::as_str), Some(*wanted), "{order}, of {answers:?}");
    }
    Ok(applied)
}

fn order(verb: &str, path: &Path) -> String {
    format!("{verb} {}", path.display())
}

/// Two machines' folders with a disk and a listening socket each.
struct Machines {
    _root: TempDir,
    own: PathBuf,
    other: PathBuf,
    _sockets: Vec<UnixListener>,
}

fn machines() -> Result<Machines> {
    let root = tempfile::tempdir()?;
    let (own, other) = (root.path().join("own"), root.path().join("other"));
    let mut sockets = Vec::new();
    for folder in [&own, &other] {
        fs::create_dir(folder)?;
        fs::write(folder.join("disk"), "secret")?;
        sockets.push(UnixListener::bind(folder.join("socket"))?);
    }
    Ok(Machines { _root: root, own, other, _sockets: sockets })
}

#[test]
fn own_files_work_and_others_do_not() -> Result<()> {
    let machines = machines()?;
    std::os::unix::fs::symlink(machines.other.join("disk"), machines.own.join("way-out"))?;
    let home = PathBuf::from(std::env::var_os("HOME").context("No HOME")?);
    let confinement = Confinement::system_program().with_write([&machines.own]);
    let applied = expect(
        confinement,
        &[
            (order("read", &machines.own.join("disk")), "secret"),
            (order("write", &machines.own.join("new")), "ok"),
            (order("rename", &machines.own.join("new")), "ok"),
            (order("remove", &machines.own.join("new.renamed")), "ok"),
            (order("read", &machines.other.join("disk")), DENIED),
            (order("read", &machines.own.join("way-out")), DENIED),
            (order("read", &machines.own.join("../other/disk")), DENIED),
            (order("write", &machines.other.join("disk")), DENIED),
            (order("write", &machines.other.join("new")), DENIED),
            (order("remove", &machines.other.join("disk")), DENIED),
            (order("list", &machines.other), DENIED),
            (order("list", &home), DENIED),
            ("list /etc".to_owned(), DENIED),
            ("read /etc/passwd".to_owned(), DENIED),
            ("list /proc".to_owned(), DENIED),
            ("execute /bin/sh".to_owned(), DENIED),
        ],
    )?;
    assert!(applied.landlock_abi.is_some());
    assert_eq!(fs::read_to_string(machines.other.join("disk"))?, "secret");
    Ok(())
}

#[test]
fn reading_does_not_allow_writing_or_executing() -> Result<()> {
    let machines = machines()?;
    let confinement = Confinement::system_program()
        .with_read([machines.own.as_path(), Path::new("/bin"), Path::new("/usr/bin")])
        .with_write([machines.other.join("disk")]);
    expect(
        confinement,
        &[
            (order("read", &machines.own.join("disk")), "secret"),
            (order("write", &machines.own.join("disk")), DENIED),
            (order("write", &machines.own.join("new")), DENIED),
            (order("write", &machines.other.join("disk")), "ok"),
            (order("remove", &machines.other.join("disk")), DENIED),
            ("execute /bin/sh".to_owned(), DENIED),
        ],
    )?;
    Ok(())
}

#[test]
fn sockets_of_other_machines_are_out_of_reach() -> Result<()> {
    let machines = machines()?;
    let inside = Confinement::system_program().with_write([&machines.own]);
    let foreign = order("connect", &machines.other.join("socket"));
    let listen = order("listen", &machines.own.join("mine"));

    let only_inherited = Confinement { sockets: Sockets::Inherited, ..inside.clone() };
    expect(
        only_inherited,
        &[
            (foreign.clone(), REFUSED),
            (listen.clone(), REFUSED),
            (order("send", &machines.other.join("socket")), REFUSED),
            ("pair".to_owned(), "ok"),
            ("datagram-pair".to_owned(), REFUSED),
            ("internet 127.0.0.1:1".to_owned(), REFUSED),
        ],
    )?;

    let internet = Confinement { sockets: Sockets::Internet, tcp: Tcp::AllowAll, ..inside };
    let server = TcpListener::bind("127.0.0.1:0")?;
    expect(
        internet,
        &[
            (foreign, REFUSED),
            (listen, REFUSED),
            (format!("internet {}", server.local_addr()?), "ok"),
            ("datagram-pair".to_owned(), REFUSED),
        ],
    )?;
    Ok(())
}

#[test]
fn any_sockets_say_that_others_are_reachable_where_they_are() -> Result<()> {
    let machines = machines()?;
    let confinement = Confinement { sockets: Sockets::Any, ..Confinement::system_program() };
    let connect = order("connect", &machines.other.join("socket"));
    let (answers, applied) = run(probe(confinement, std::slice::from_ref(&connect))?)?;
    let reached = answers[&connect] == "ok";
    assert_eq!(reached, applied.missing.iter().any(|what| what.contains("Unix sockets can be connected")), "{applied:?}");
    Ok(())
}

#[test]
fn abstract_sockets_are_out_of_reach() -> Result<()> {
    let name = format!("vivarium-test-{}", std::process::id());
    let _listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
    let confinement = Confinement { sockets: Sockets::Any, ..Confinement::system_program() };
    let applied = expect(confinement, &[(format!("connect-abstract {name}"), REFUSED)])?;
    assert!(applied.landlock_abi.is_some_and(|abi| abi >= 6), "This test needs Linux 6.12");
    Ok(())
}

#[test]
fn tcp_ports_are_those_that_were_listed() -> Result<()> {
    let (listed, other) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
    let (listed, other) = (listed.local_addr()?, other.local_addr()?);
    let base = Confinement { sockets: Sockets::Internet, ..Confinement::system_program() };

    let denied = Confinement { tcp: Tcp::Deny, ..base.clone() };
    expect(denied, &[(format!("internet {listed}"), DENIED), ("bind 127.0.0.1:0".to_owned(), DENIED)])?;

    let some = Confinement { tcp: Tcp::Ports { bind: vec![0], connect: vec![listed.port()] }, ..base };
    expect(
        some,
        &[
            (format!("internet {listed}"), "ok"),
            (format!("internet {other}"), DENIED),
            ("bind 127.0.0.1:0".to_owned(), "ok"),
            (format!("bind {other}"), DENIED),
        ],
    )?;
    Ok(())
}

#[test]
fn other_processes_cannot_be_signalled_or_traced() -> Result<()> {
    let me = std::process::id();
    // Even where `/proc` may be read.
    let confinement = Confinement::system_program().with_read(["/proc"]);
    expect(
        confinement,
        &[(format!("signal {me}"), REFUSED), (format!("take-descriptor {me}"), REFUSED), (format!("read /proc/{me}/mem"), DENIED)],
    )?;
    Ok(())
}

#[test]
fn privileges_cannot_be_gained() -> Result<()> {
    expect(Confinement::system_program(), &[("no-new-privileges".to_owned(), "true")])?;
    let off = Confinement { landlock: Requirement::Off, sockets: Sockets::Any, ..Confinement::default() };
    expect(
        off,
        &[("no-new-privileges".to_owned(), "true"), ("read /etc/hostname".to_owned(), fs::read_to_string("/etc/hostname")?.trim())],
    )?;
    Ok(())
}

#[test]
fn only_listed_descriptors_and_environment_arrive() -> Result<()> {
    let mut confinement = Confinement::system_program().with_read(["/proc"]);
    confinement.environment.push(("PLAIN".to_owned(), "value with = and ü".to_owned()));
    let orders = ["descriptors", "environment", "read-input", "umask", "session", "directory"].map(str::to_owned);
    let mut launch = probe(confinement, &orders)?;

    let mut dropped = tempfile::tempfile()?;
    dropped.write_all(b"handed over")?;
    dropped.seek(SeekFrom::Start(0))?;
    let (ours, theirs) = UnixStream::pair()?;
    // Left open on purpose, as a careless caller would.
    let leaked = File::open("/etc/passwd")?;
    rustix::io::fcntl_setfd(&leaked, rustix::io::FdFlags::empty())?;
    launch.descriptors = vec![(theirs.into(), 3), (dropped.try_clone()?.into(), 9)];
    // The path in `/tmp` is out of reach, the open file is not.
    launch.stdin = dropped.into();
    launch.working_directory = "/usr".into();
    let (answers, _) = run(launch)?;
    drop((leaked, ours));

    assert_eq!(answers["descriptors"], "0 1 2 3 9");
    assert_eq!(answers["environment"], format!("PLAIN=value with = and ü {}=", probe::ORDERS));
    assert_eq!(answers["read-input"], "handed over");
    assert_eq!(answers["umask"], "77");
    assert_eq!(answers["session"], "own");
    assert_eq!(answers["directory"], "/usr");
    Ok(())
}

#[test]
fn limits_hold() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut confinement = Confinement::system_program().with_write([folder.path()]);
    confinement.limits.open_files = Some(64);
    confinement.limits.file_size = Some(1 << 20);
    confinement.limits.memory = Some(256 << 20);
    let memory = |mebibytes: usize| order("allocate", Path::new(&(mebibytes << 20).to_string()));
    let limits = [("limit-core".to_owned(), "1"), ("limit-files".to_owned(), "64"), (memory(64), "done"), (memory(512), "refused")];
    expect(confinement.clone(), &limits)?;

    let big = folder.path().join("big");
    let started = sandbox::spawn(&launcher(), probe(confinement, &[order("write-big", &big)])?)?;
    assert_eq!(started.process.wait(None)?, Some(Exit::Signal(libc::SIGXFSZ)));
    assert_eq!(fs::metadata(big)?.len(), 1 << 20);
    Ok(())
}

#[test]
fn failures_name_the_step_and_the_path() -> Result<()> {
    let spawn = |launch| sandbox::spawn(&launcher(), launch).map(|_| ()).unwrap_err();

    let error = spawn(Launch::new("/nonexistent/program", Confinement::system_program()));
    assert!(matches!(error, LaunchError::Step { step: Step::Program, errno: Some(libc::ENOENT), .. }), "{error}");

    let missing = Confinement::system_program().with_read(["/nonexistent/disk"]);
    let error = spawn(Launch::new("/bin/true", missing));
    assert!(matches!(&error, LaunchError::Step { step: Step::Path, path: Some(path), .. } if path.ends_with("disk")), "{error}");
    assert!(error.to_string().ends_with(": /nonexistent/disk"), "{error}");

    let error = spawn(Launch::new("/etc/passwd", Confinement::system_program()));
    assert!(matches!(error, LaunchError::Step { step: Step::Execute, errno: Some(libc::EACCES), .. }), "{error}");

    let mut launch = Launch::new("/bin/true", Confinement::system_program());
    launch.working_directory = "/nonexistent".into();
    let error = spawn(launch);
    assert!(matches!(error, LaunchError::Step { step: Step::WorkingDirectory, .. }), "{error}");

    let mut launch = Launch::new("/bin/true", Confinement::system_program());
    launch.descriptors = vec![(OwnedFd::from(UnixDatagram::unbound()?), 3)];
    assert!(matches!(spawn(launch), LaunchError::Descriptor { number: 3, .. }));

    let launch = Launch::new("/bin/true", Confinement::system_program());
    let error = sandbox::spawn(Path::new("/nonexistent/launcher"), launch).map(|_| ()).unwrap_err();
    assert!(matches!(error, LaunchError::Launcher { .. }), "{error}");

    let launch = Launch::new("/bin/true", Confinement::system_program());
    let error = sandbox::spawn(Path::new("/bin/true"), launch).map(|_| ()).unwrap_err();
    assert!(matches!(error, LaunchError::Silent { .. }), "{error}");
    Ok(())
}

#[test]
fn standard_descriptors_are_connected() -> Result<()> {
    let (ours, theirs) = UnixStream::pair()?;
    let mut launch = Launch::new("/bin/cat", Confinement::system_program());
    launch.stdin = Stdio::Descriptor(theirs.try_clone()?.into());
    launch.stdout = Stdio::Descriptor(theirs.into());
    let started = sandbox::spawn(&launcher(), launch)?;
    (&ours).write_all(b"there and back")?;
    ours.shutdown(std::net::Shutdown::Write)?;
    let mut back = String::new();
    (&ours).read_to_string(&mut back)?;
    assert_eq!(back, "there and back");
    assert_eq!(started.process.wait(None)?, Some(Exit::Code(0)));
    Ok(())
}

#[test]
fn large_specifications_arrive_whole() -> Result<()> {
    let mut output = tempfile::tempfile()?;
    let mut launch = Launch::new("/bin/echo", Confinement::system_program());
    launch.arguments = (0..10_000).map(|number| format!("argument-number-{number}").into()).collect();
    launch.descriptors = (3..253).map(|number| Ok((File::open("/dev/null")?.into(), number))).collect::<Result<_>>()?;
    launch.stdout = output.try_clone()?.into();
    sandbox::spawn(&launcher(), launch)?.process.wait(None)?;
    let mut text = String::new();
    output.seek(SeekFrom::Start(0))?;
    output.read_to_string(&mut text)?;
    assert!(text.ends_with(" argument-number-9999\n"));
    Ok(())
}
