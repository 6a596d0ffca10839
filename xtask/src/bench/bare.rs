//! QEMU with the command line that `viv` computed, and nothing around it.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::monitor::Qmp;

/// QEMU's command line without the descriptors that only a supervisor can give it: sockets and files get a path instead.
pub struct Bare {
    /// The program.
    pub program: String,
    arguments: Vec<String>,
}

/// A file that our QEMU gets as a descriptor.
#[derive(Deserialize)]
struct Handed {
    /// What the arguments call it.
    name: String,
    path: String,
}

/// A QEMU that is stopped before the guest's first instruction.
pub struct Ready {
    process: Ended,
    qmp: Qmp,
    work: PathBuf,
}

impl Bare {
    /// From what `viv command --json` says.
    pub fn new(line: &Value) -> Result<Self> {
        let program = line.get("program").and_then(Value::as_str).context("viv command names no program")?.to_owned();
        let words = line.get("arguments").and_then(Value::as_array).context("viv command gives no arguments")?;
        let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
        let files: Vec<Handed> = line.get("files").map(|files| serde_json::from_value(files.clone())).transpose()?.unwrap_or_default();
        Ok(Self { program, arguments: without_descriptors(&words, &files) })
    }

    /// The values that an option has on the command line.
    pub fn values(&self, option: &str) -> impl Iterator<Item = &str> {
        let is_option = move |pair: &&[String]| pair.first().is_some_and(|word| word == option);
        self.arguments.windows(2).filter(is_option).filter_map(|pair| pair.last()).map(String::as_str)
    }

    /// Whether the option is there.
    pub fn has(&self, option: &str) -> bool {
        self.arguments.iter().any(|word| word == option)
    }

    /// The same with another value of an option.
    pub fn with(&self, option: &str, value: &str) -> Self {
        let mut arguments = self.arguments.clone();
        let places: Vec<usize> = (1..arguments.len()).filter(|at| arguments[at - 1] == option).collect();
        for at in places {
            value.clone_into(&mut arguments[at]);
        }
        Self { program: self.program.clone(), arguments }
    }

    /// Starts it in a folder of its own, `work`.
    pub fn start(&self, work: &Path) -> Result<Ready> {
        let _ = fs::remove_dir_all(work);
        fs::create_dir_all(work).with_context(|| format!("Could not create {}", work.display()))?;
        let began = Instant::now();
        let child = Command::new(&self.program)
            .args(&self.arguments)
            .current_dir(work)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(work.join("stderr"))?)
            .spawn()
            .with_context(|| format!("Could not start {}", self.program))?;
        let mut process = Ended(child);
        let socket = work.join("qmp.sock");
        let qmp = loop {
            match Qmp::connect(&socket) {
                Ok(qmp) => break qmp,
                Err(error) if process.0.try_wait()?.is_some() => {
                    let said = fs::read_to_string(work.join("stderr")).unwrap_or_default();
                    return Err(error).with_context(|| format!("QEMU ended at once: {}", said.trim_end()));
                }
                Err(_) if began.elapsed() < Duration::from_secs(60) => std::thread::sleep(Duration::from_millis(1)),
                Err(error) => return Err(error),
            }
        };
        Ok(Ready { process, qmp, work: work.to_owned() })
    }
}

impl Ready {
    /// The guest's first serial port. What the guest says while nobody is connected is lost.
    pub fn serial(&self) -> Result<UnixStream> {
        let socket = self.work.join("term0.sock");
        UnixStream::connect(&socket).with_context(|| format!("Could not reach the serial port at {}", socket.display()))
    }

    /// Lets the guest run. It runs until what is returned goes.
    pub fn run(mut self) -> Result<Ended> {
        self.qmp.execute("cont", &json!({}))?;
        let status = self.qmp.execute("query-status", &json!({}))?;
        if status.get("running").and_then(Value::as_bool) != Some(true) {
            bail!("QEMU does not run the guest: {status}");
        }
        Ok(self.process)
    }
}

/// A process that does not outlive the measurement.
pub struct Ended(pub Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn without_descriptors(words: &[&str], files: &[Handed]) -> Vec<String> {
    let mut arguments = Vec::new();
    let mut words = words.iter();
    while let Some(&word) = words.next() {
        if word == "-add-fd" {
            words.next();
            continue;
        }
        let id = word.split(',').find_map(|option| option.strip_prefix("id=")).unwrap_or("unnamed");
        let options = word.split(',').filter(|option| !option.starts_with("logfile=/dev/fdset/") && *option != "logappend=on");
        let options = options.map(|option| {
            let is_descriptor = word.starts_with("socket,") && option.strip_prefix("fd=").is_some_and(|fd| fd.parse::<u32>().is_ok());
            if is_descriptor { format!("path={id}.sock") } else { option.to_owned() }
        });
        let argument = options.collect::<Vec<_>>().join(",");
        // The highest first, for `/dev/fdset/12` begins with `/dev/fdset/1`.
        arguments.push(files.iter().rev().fold(argument, |argument, file| argument.replace(&file.name, &file.path)));
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_and_files_get_paths_and_logs_go() {
        let words = [
            "-chardev",
            "socket,id=qmp,fd=20,server=on",
            "-add-fd",
            "fd=22,set=1",
            "-chardev",
            "socket,id=t,fd=21,logfile=/dev/fdset/1,logappend=on",
            "-m",
            "512M",
            "-kernel",
            "/proc/self/fd/23",
        ];
        let files = json!([
            {"descriptor": 22, "name": "/dev/fdset/1", "path": "/logs/serial"},
            {"descriptor": 23, "name": "/proc/self/fd/23", "path": "/bundle/Data/kernel"},
        ]);
        let bare = Bare::new(&json!({"program": "qemu", "arguments": words, "files": files})).unwrap();
        let expected =
            "-chardev socket,id=qmp,path=qmp.sock,server=on -chardev socket,id=t,path=t.sock -m 512M -kernel /bundle/Data/kernel";
        assert_eq!(bare.arguments.join(" "), expected);
        assert_eq!(bare.values("-chardev").count(), 2);
        assert!(bare.has("-m") && !bare.has("-add-fd"));
        assert_eq!(bare.with("-m", "1G").values("-m").collect::<Vec<_>>(), ["1G"]);
    }
}
