//! From `viv start` to a running machine, against QEMU with the same command line and nothing around it.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::{NAME, Spread, compare, time};
use crate::monitor::Qmp;
use crate::process;
use crate::viv::Viv;

/// Measures both in turn, so that what else the computer does meets both.
pub fn measure(viv: &Viv, folder: &Path, rounds: u32) -> Result<()> {
    // The first start finds out what the installed QEMU can do; later ones know. It also tells the command line.
    process::quiet(&mut viv.command(["start", NAME, "--wait"]))?;
    let line = viv.json(["command", NAME])?;
    process::quiet(&mut viv.command(["stop", NAME, "--kill"]))?;

    let work = folder.join("bare");
    let bare_line = Bare::new(&line)?;
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        ours.push(time(|| process::quiet(&mut viv.command(["start", NAME, "--wait"])))?.0);
        process::quiet(&mut viv.command(["stop", NAME, "--kill"]))?;
        bare.push(bare_line.start(&work)?);
    }
    compare("Start to running", ("viv start --wait", &Spread::of(ours)), ("QEMU alone, same command line", &Spread::of(bare)));
    Ok(())
}

/// QEMU's command line without the descriptors that only a supervisor can give it: sockets get a path instead.
struct Bare {
    program: String,
    arguments: Vec<String>,
}

impl Bare {
    fn new(line: &Value) -> Result<Self> {
        let program = line.get("program").and_then(Value::as_str).context("viv command names no program")?.to_owned();
        let words = line.get("arguments").and_then(Value::as_array).context("viv command gives no arguments")?;
        let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
        Ok(Self { program, arguments: without_descriptors(&words) })
    }

    /// Starts it, lets the guest run, and ends it; returns how long it took until the guest ran.
    fn start(&self, work: &Path) -> Result<Duration> {
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
        let mut child = Ended(child);
        let socket = work.join("qmp.sock");
        let mut qmp = loop {
            match Qmp::connect(&socket) {
                Ok(qmp) => break qmp,
                Err(error) if child.0.try_wait()?.is_some() => {
                    let said = fs::read_to_string(work.join("stderr")).unwrap_or_default();
                    return Err(error).with_context(|| format!("QEMU ended at once: {}", said.trim_end()));
                }
                Err(_) if began.elapsed() < Duration::from_secs(60) => std::thread::sleep(Duration::from_millis(1)),
                Err(error) => return Err(error),
            }
        };
        qmp.execute("cont", &json!({}))?;
        let status = qmp.execute("query-status", &json!({}))?;
        if status.get("running").and_then(Value::as_bool) != Some(true) {
            bail!("QEMU does not run the guest: {status}");
        }
        Ok(began.elapsed())
    }
}

/// A process that does not outlive the measurement.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn without_descriptors(words: &[&str]) -> Vec<String> {
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
        arguments.push(options.collect::<Vec<_>>().join(","));
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_get_paths_and_logs_go() {
        let words = [
            "-chardev",
            "socket,id=qmp,fd=20,server=on",
            "-add-fd",
            "fd=22,set=1",
            "-chardev",
            "socket,id=t,fd=21,logfile=/dev/fdset/1,logappend=on",
            "-m",
            "512M",
        ];
        assert_eq!(
            without_descriptors(&words),
            ["-chardev", "socket,id=qmp,path=qmp.sock,server=on", "-chardev", "socket,id=t,path=t.sock", "-m", "512M"]
        );
    }
}
