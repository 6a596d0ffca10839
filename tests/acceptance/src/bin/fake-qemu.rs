//! A program in QEMU's place. It lies in `…/fake/BEHAVIOUR/qemu-system-ARCHITECTURE`, and its folder's name says what it does. In
//! `…/fake/image-spy/qemu-img` it is in that program's place.
//!
//! While it is asked what it can do it becomes the real QEMU, so that a machine can be planned; when it shall run the machine (it is given
//! a `-sandbox` or a `-name`), it does what its folder says. It gets no environment and can read next to nothing: what it must know is in
//! its arguments.
#![allow(unsafe_code, reason = "a descriptor that is handed over comes as a number")]

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::FromRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::time::Duration;
use std::{env, fs, io, thread};

const GREETING: &str = r#"{"QMP": {"version": {"qemu": {"micro": 0, "minor": 0, "major": 10}, "package": ""}, "capabilities": ["oob"]}}"#;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let own = env::current_exe().unwrap_or_default();
    let part = |path: &std::path::Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let behaviour = own.parent().map(part).unwrap_or_default();
    let runs_a_machine = arguments.iter().any(|word| word == "-sandbox" || word == "-name");
    match behaviour.as_str() {
        "mute" => hang(),
        "broken" => {
            eprintln!("qemu: error while loading shared libraries: libfake.so.1: cannot open shared object file");
            ExitCode::from(127)
        }
        "image-spy" => image_spy(&arguments),
        "old" if !runs_a_machine => old(),
        _ if !runs_a_machine => become_real(&part(&own), &arguments),
        "crash" => {
            eprintln!("qemu: fake: the flux capacitor is empty");
            ExitCode::from(3)
        }
        "abort" => std::process::abort(),
        "hang" => hang(),
        "spy" => spy(&arguments),
        "garbage" => talk(&arguments, |peer| peer.write_all(&vec![b'\xfe'; 4096]).and_then(|()| peer.write_all(b"\n{]\n"))),
        "endless" => talk(&arguments, endless),
        "silent" => talk(&arguments, |peer| {
            writeln!(peer, "{GREETING}")?;
            hang()
        }),
        "curious" => talk(&arguments, converse),
        other => {
            eprintln!("There is no behaviour {other:?}");
            ExitCode::from(64)
        }
    }
}

fn hang() -> ! {
    loop {
        thread::sleep(Duration::from_secs(3600));
    }
}

/// What lies on the usual paths under the same name.
fn become_real(name: &str, arguments: &[String]) -> ExitCode {
    let error = Command::new(format!("/usr/bin/{name}")).args(arguments).exec();
    eprintln!("Cannot become /usr/bin/{name}: {error}");
    ExitCode::from(126)
}

/// A QEMU from before everything that is needed.
fn old() -> ExitCode {
    let answer = |line: &str| -> String {
        if line.contains("query-version") {
            r#"{"return": {"qemu": {"micro": 0, "minor": 12, "major": 1}, "package": ""}}"#.to_owned()
        } else if line.contains("query-target") {
            r#"{"return": {"arch": "x86_64"}}"#.to_owned()
        } else if line.contains("qmp_capabilities") || line.contains("quit") {
            r#"{"return": {}}"#.to_owned()
        } else if line.contains("query-kvm") {
            r#"{"return": {"enabled": false, "present": false}}"#.to_owned()
        } else {
            r#"{"return": []}"#.to_owned()
        }
    };
    println!("{GREETING}");
    for line in io::stdin().lock().lines().map_while(Result::ok) {
        let id = id_of(&line).map(|id| format!(r#", "id": {id}}}"#));
        let text = answer(&line);
        match id {
            Some(id) => println!("{}{id}", text.trim_end_matches('}').to_owned() + &"}".repeat(text.matches('{').count() - 1)),
            None => println!("{text}"),
        }
        if line.contains("\"quit\"") {
            break;
        }
    }
    ExitCode::SUCCESS
}

/// The member `id` of a command, as it is written.
fn id_of(line: &str) -> Option<String> {
    let value: serde_json::Value = serde_json::from_str(line).ok()?;
    value.get("id").map(ToString::to_string)
}

/// Takes the peer that connects to the monitor, and does something with it.
fn talk(arguments: &[String], what: impl Fn(&mut UnixStream) -> io::Result<()>) -> ExitCode {
    let number = arguments.iter().find(|word| word.starts_with("socket,id=qmp,")).and_then(|word| {
        let number = word.split(',').find_map(|part| part.strip_prefix("fd="))?;
        number.parse::<i32>().ok()
    });
    let Some(number) = number else {
        eprintln!("No monitor among the arguments");
        return ExitCode::from(64);
    };
    // SAFETY: the launcher has handed over a listening socket under this number, and nothing else here knows of it.
    let listener = unsafe { UnixListener::from_raw_fd(number) };
    loop {
        let Ok((mut peer, _)) = listener.accept() else { return ExitCode::from(65) };
        if let Err(error) = what(&mut peer) {
            eprintln!("The peer has gone: {error}");
        }
    }
}

/// A greeting, and then a line of 1 GiB.
fn endless(peer: &mut UnixStream) -> io::Result<()> {
    write!(peer, "{GREETING}\n{{\"event\": \"")?;
    let chunk = vec![b'a'; 1 << 20];
    for _ in 0..1024 {
        peer.write_all(&chunk)?;
    }
    writeln!(peer, "\"}}")?;
    hang()
}

/// Says yes to everything, and tells of what nobody knows.
fn converse(peer: &mut UnixStream) -> io::Result<()> {
    writeln!(peer, "{GREETING}")?;
    let mut lines = BufReader::new(peer.try_clone()?).lines();
    while let Some(line) = lines.next().transpose()? {
        let id = id_of(&line).unwrap_or_else(|| "null".to_owned());
        let answer = if line.contains("query-status") { r#"{"running": true, "status": "running", "vibe": 7}"# } else { "{}" };
        writeln!(peer, r#"{{"event": "FLUX_LOST", "data": {{"deep": [[[[{{}}]]]]}}, "timestamp": {{"seconds": 1, "microseconds": 2}}}}"#)?;
        writeln!(peer, r#"{{"event": "SHUTDOWN", "data": "not what it should be", "timestamp": {{"seconds": 1, "microseconds": 2}}}}"#)?;
        writeln!(peer, r#"{{"return": {{}}, "id": "nobody asked"}}"#)?;
        writeln!(peer, r#"{{"return": {answer}, "id": {id}}}"#)?;
        if line.contains("\"quit\"") {
            std::process::exit(0);
        }
    }
    Ok(())
}

/// Tries what it should not be able to do. The list is in the file that is given as the kernel, one attempt a line; the outcomes go to
/// standard output.
fn spy(arguments: &[String]) -> ExitCode {
    let kernel = arguments.iter().skip_while(|word| *word != "-kernel").nth(1);
    let list = match kernel.map(fs::read_to_string) {
        Some(Ok(list)) => list,
        other => {
            println!("spy: no list: {other:?}");
            return ExitCode::FAILURE;
        }
    };
    for line in list.lines() {
        let (verb, what) = line.split_once(' ').unwrap_or((line, ""));
        let outcome = attempt(verb, what);
        match outcome {
            Ok(()) => println!("spy: {line}: DONE"),
            Err(error) => println!("spy: {line}: {error}"),
        }
    }
    println!("spy: end");
    ExitCode::SUCCESS
}

/// The same in qemu-img's place. The list is the content of the raw image that is to be converted; what should not have been possible goes to
/// standard error, and so does whether the new image could be written.
fn image_spy(arguments: &[String]) -> ExitCode {
    let source = arguments.iter().find_map(|word| word.strip_prefix("json:"));
    let graph: serde_json::Value = source.and_then(|graph| serde_json::from_str(graph).ok()).unwrap_or_default();
    let source = graph["file"]["filename"].as_str().unwrap_or_default();
    let list = match fs::read_to_string(source) {
        Ok(list) => list,
        Err(error) => {
            eprintln!("spy: no list in {source}: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut refused = 0;
    for line in list.trim_end_matches('\0').lines() {
        let (verb, what) = line.split_once(' ').unwrap_or((line, ""));
        match attempt(verb, what) {
            Ok(()) => eprintln!("spy: done: {line}"),
            // A refusal, and not a path that was not there to be refused.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => refused += 1,
            Err(error) => eprintln!("spy: {line}: {error}"),
        }
    }
    if attempt("write", source).is_ok() {
        eprintln!("spy: done: write to the image that is only read");
    }
    let target = arguments.last().map(|target| OpenOptions::new().append(true).open(target));
    let written = if matches!(target, Some(Ok(_))) { "and the new image can be written" } else { "and not even the new image" };
    let variables: Vec<_> = env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned()).collect();
    eprintln!("spy: {refused} refused {written}, with {}", variables.join(" "));
    ExitCode::FAILURE
}

fn attempt(verb: &str, what: &str) -> io::Result<()> {
    match verb {
        "read" => fs::read(what).map(drop),
        "list" => fs::read_dir(what).map(drop),
        "write" => OpenOptions::new().append(true).open(what).map(drop),
        "make" => File::create_new(what).map(drop),
        "remove" => fs::remove_file(what),
        "rename" => fs::rename(what, format!("{what}.taken")),
        "link" => fs::hard_link(what, format!("{what}.link")),
        "connect" => UnixStream::connect(what).map(drop),
        "tcp" => {
            let address: SocketAddr = what.parse().map_err(io::Error::other)?;
            TcpStream::connect_timeout(&address, Duration::from_secs(5)).map(drop)
        }
        "signal" => {
            let process = what.parse().ok().and_then(rustix::process::Pid::from_raw);
            rustix::process::test_kill_process(process.ok_or(io::ErrorKind::InvalidInput)?).map_err(Into::into)
        }
        "run" => Command::new(OsString::from(what)).status().map(drop),
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}
