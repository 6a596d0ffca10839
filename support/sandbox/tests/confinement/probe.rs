//! What the confined program does: one order a line from the environment, one answer a line to standard output.

use std::fs;
use std::io::{self, Read};
use std::net::{TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, Resource, Signal};

/// The variable that holds the orders.
pub const ORDERS: &str = "PROBE_ORDERS";
/// What lines with an answer begin with.
pub const ANSWER: &str = "answer: ";

#[test]
#[ignore = "it is what the other tests start confined"]
fn obey() {
    let Ok(orders) = std::env::var(ORDERS) else { return };
    // The test harness has not ended its line.
    println!();
    for order in orders.lines() {
        let (verb, argument) = order.split_once(' ').unwrap_or((order, ""));
        let answer = perform(verb, argument).unwrap_or_else(|error| name(&error));
        println!("{ANSWER}{order} => {answer}");
    }
}

fn name(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EACCES) => "EACCES".to_owned(),
        Some(libc::EPERM) => "EPERM".to_owned(),
        _ => format!("{error:?}"),
    }
}

fn perform(verb: &str, argument: &str) -> io::Result<String> {
    let ok = Ok("ok".to_owned());
    match verb {
        "read" => Ok(String::from_utf8_lossy(&read_start(argument)?).trim().to_owned()),
        "read-input" => io::read_to_string(io::stdin()),
        "write" => fs::write(argument, "written").and(ok),
        "write-big" => fs::write(argument, vec![1; 2 << 20]).and(ok),
        "rename" => fs::rename(argument, format!("{argument}.renamed")).and(ok),
        "remove" => fs::remove_file(argument).and(ok),
        "list" => fs::read_dir(argument).map(|entries| entries.count().to_string()),
        "execute" => Err(Command::new(argument).exec()),
        "connect" => UnixStream::connect(argument).and(ok),
        "connect-abstract" => UnixStream::connect_addr(&SocketAddr::from_abstract_name(argument)?).and(ok),
        "listen" => UnixListener::bind(argument).and(ok),
        "send" => UnixDatagram::unbound()?.send_to(b"x", argument).and(ok),
        "pair" => UnixStream::pair().and(ok),
        "datagram-pair" => UnixDatagram::pair().and(ok),
        "internet" => TcpStream::connect(argument).and(ok),
        "bind" => TcpListener::bind(argument).and(ok),
        "signal" => rustix::process::kill_process(pid(argument)?, Signal::CONT).map_err(io::Error::from).and(ok),
        "take-descriptor" => {
            let pidfd = rustix::process::pidfd_open(pid(argument)?, PidfdFlags::empty())?;
            rustix::process::pidfd_getfd(pidfd, 0, PidfdGetfdFlags::empty()).map_err(io::Error::from).and(ok)
        }
        "no-new-privileges" => Ok(rustix::thread::no_new_privs()?.to_string()),
        "descriptors" => {
            let mut numbers = Vec::new();
            for entry in fs::read_dir("/proc/self/fd")? {
                let entry = entry?;
                // Not the descriptor that lists.
                if !fs::read_link(entry.path()).is_ok_and(|target| target.ends_with("fd")) {
                    numbers.extend(entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()));
                }
            }
            numbers.sort_unstable();
            Ok(join(numbers.iter().map(ToString::to_string)))
        }
        "environment" => {
            let mut variables: Vec<_> =
                std::env::vars().map(|(name, value)| if name == ORDERS { format!("{name}=") } else { format!("{name}={value}") }).collect();
            variables.sort();
            Ok(join(variables))
        }
        "umask" => Ok(format!("{:o}", rustix::process::umask(rustix::fs::Mode::empty()).as_raw_mode())),
        "session" => {
            let own = rustix::process::getsid(None)? == rustix::process::getpid();
            Ok(if own { "own" } else { "foreign" }.to_owned())
        }
        "directory" => Ok(std::env::current_dir()?.display().to_string()),
        "limit-core" => Ok(limit(Resource::Core)),
        "allocate" => Ok(Vec::<u8>::new().try_reserve_exact(argument.parse().unwrap_or(0)).map_or("refused", |()| "done").to_owned()),
        "limit-files" => Ok(limit(Resource::Nofile)),
        _ => Ok("unknown order".to_owned()),
    }
}

fn read_start(path: &str) -> io::Result<Vec<u8>> {
    let mut start = Vec::new();
    fs::File::open(path)?.take(1000).read_to_end(&mut start)?;
    Ok(start)
}

fn join(words: impl IntoIterator<Item = String>) -> String {
    words.into_iter().collect::<Vec<_>>().join(" ")
}

fn pid(argument: &str) -> io::Result<Pid> {
    argument.parse().ok().and_then(Pid::from_raw).ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

fn limit(resource: Resource) -> String {
    let limit = rustix::process::getrlimit(resource);
    assert_eq!(limit.current, limit.maximum);
    limit.current.map_or_else(|| "unlimited".to_owned(), |limit| limit.to_string())
}
