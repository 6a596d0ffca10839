//! Machines that run, as their supervisor tells.

mod home;
#[path = "home/supervisor.rs"]
mod supervisor;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::Duration;

use home::{Home, open, process, run, variable};
use library::{Activity, DriveSpec, ErrorKind, Job, RemovableKind, StopPlan};
use machine::{EndReason, StartOptions, State, StopMethod};
use supervisor::Supervisor;

const LONG: Duration = Duration::from_secs(30);

#[test]
fn a_running_machine_is_asked_and_a_stopped_one_remembers_its_end() {
    let home = Home::new();
    run(async {
        let machine = home.machine("R").await.machine;
        let supervisor = Supervisor::start(&home.library, &machine, &[StopMethod::Request]);
        let listed = home.library.find("R").unwrap();
        assert_eq!(listed.activity, Activity::Running);
        let status = home.library.status(&listed).await.unwrap();
        assert_eq!((status.state, status.supervisor_pid), (State::Running, Some(std::process::id())));
        for refused in [
            home.library.edit(&machine, |_| Ok(())).unwrap_err(),
            home.library.delete(&machine, library::Deletion::Permanent).await.unwrap_err(),
            home.library.start(&machine, StartOptions::default(), |_| {}).await.unwrap_err(),
        ] {
            assert_eq!(refused.kind(), ErrorKind::WrongState);
            assert!(refused.to_string().contains("running"), "{refused}");
        }
        let mut said = Vec::new();
        let stopped = home.library.stop(&machine, StopPlan::request(LONG), |message| said.push(message.to_owned())).await.unwrap();
        assert_eq!(stopped.by, Some(StopMethod::Request));
        assert_eq!(stopped.ending.unwrap().reason, EndReason::GuestShutdown);
        assert_eq!(said.len(), 1);
        // The lock is free when it returns.
        home.library.edit(&machine, |_| Ok(())).unwrap();
        let status = home.library.status(&machine).await.unwrap();
        assert_eq!((status.state, status.last_run.unwrap().ending.reason), (State::Stopped, EndReason::GuestShutdown));
        let again = home.library.stop(&machine, StopPlan::force(), |_| {}).await.unwrap();
        assert_eq!((again.by, again.ending), (None, None));
        drop(supervisor);
    });
}

#[test]
fn a_guest_that_does_not_listen_is_forced_or_left_as_the_plan_says() {
    let home = Home::new();
    run(async {
        let machine = home.machine("Deaf").await.machine;
        let supervisor = Supervisor::start(&home.library, &machine, &[StopMethod::Force]);
        let short = Duration::from_millis(20);
        let late = home.library.stop(&machine, StopPlan::request(short), |_| {}).await.unwrap_err();
        assert_eq!(late.kind(), ErrorKind::Timeout);
        assert_eq!(home.library.find("Deaf").unwrap().activity, Activity::Running);
        let stopped = home.library.stop(&machine, StopPlan::request_then_force(short), |_| {}).await.unwrap();
        assert_eq!(stopped.by, Some(StopMethod::Force));
        assert_eq!(supervisor.heard().iter().filter(|request| *request == "POST /v1/stop").count(), 3);
    });
}

#[test]
fn waiting_ends_with_the_machine() {
    let home = Home::new();
    run(async {
        let machine = home.machine("W").await.machine;
        assert_eq!(home.library.wait(&machine).await.unwrap(), None);
        let supervisor = Supervisor::start(&home.library, &machine, &[]);
        let end = async {
            while !supervisor.heard().contains(&"GET /v1/events".to_owned()) {
                tokio::task::yield_now().await;
            }
            supervisor.end();
        };
        let (ending, ()) = tokio::join!(home.library.wait(&machine), end);
        assert_eq!(ending.unwrap().unwrap().reason, EndReason::GuestShutdown);
    });
}

#[test]
fn what_needs_a_running_machine_says_so() {
    let home = Home::new();
    run(async {
        let machine = home.machine("S").await.machine;
        for result in [home.library.pause(&machine).await, home.library.resume(&machine).await, home.library.reset(&machine).await] {
            assert_eq!(result.unwrap_err().kind(), ErrorKind::WrongState);
        }
        assert!(home.library.client(&machine).await.unwrap().is_none());
        let supervisor = Supervisor::start(&home.library, &machine, &[]);
        home.library.pause(&machine).await.unwrap();
        home.library.reset(&machine).await.unwrap();
        assert!(supervisor.heard().contains(&"POST /v1/reset".to_owned()));
    });
}

#[test]
fn media_of_a_running_machine_go_to_its_supervisor() {
    let home = Home::new();
    run(async {
        let machine = home.machine("M").await.machine;
        let cd = DriveSpec::Removable { kind: RemovableKind::Cd, medium: None, interface: None };
        let id = home.library.drive_add(&machine, cd, &Job::silent()).await.unwrap();
        let iso = home.folder.path().join("a.iso");
        fs::write(&iso, "x").unwrap();
        let supervisor = Supervisor::start(&home.library, &machine, &[]);
        home.library.insert(&machine, "1", &iso, false).await.unwrap();
        home.library.eject(&machine, "1", true).await.unwrap();
        let heard = supervisor.heard();
        assert!(heard.contains(&format!("PUT /v1/drives/{id}/medium")), "{heard:?}");
        assert!(heard.contains(&format!("DELETE /v1/drives/{id}/medium?force=true")), "{heard:?}");
        // It is the supervisor that remembers.
        assert_eq!(home.library.drives(&machine).unwrap()[1].path, None);
    });
}

/// In a process of its own, because the environment names the supervisor program.
#[test]
fn in_a_process() {
    let (Some(what), Some(folder)) = (variable("DO"), variable("HOME_FOLDER")) else { return };
    let library = open(&folder);
    let machine = library.find("P").unwrap();
    run(async {
        match what.to_str().unwrap() {
            "status" => match library.status(&machine).await {
                Ok(status) => println!("outcome: {}", status.state),
                Err(error) => println!("outcome: {:?}: {}", error.kind(), error.chain()),
            },
            _ => {
                let mut said = Vec::new();
                let started = library
                    .start(&machine, StartOptions { disposable: true, paused: false }, |message| said.push(message.to_owned()))
                    .await;
                let outcome = started
                    .map_or_else(|error| format!("{:?}: {} ({:?})", error.kind(), error.chain(), error.hint()), |()| "started".into());
                println!("outcome: {outcome} after {said:?}");
            }
        }
    });
}

fn script(home: &Home, text: &str) -> std::path::PathBuf {
    let path = home.folder.path().join("supervisor");
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn outcome(what: &str, home: &Home, program: &Path) -> String {
    let child = process("in_a_process", &[("DO", what.as_ref()), ("HOME_FOLDER", home.folder.path()), ("VIVARIUM_SUPERVISOR", program)]);
    outcome_of(child)
}

fn outcome_of(mut child: std::process::Child) -> String {
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    child.wait().unwrap();
    text.lines().find_map(|line| line.split_once("outcome: ")).unwrap_or_else(|| panic!("{text}")).1.to_owned()
}

#[test]
fn starting_passes_on_what_the_supervisor_says() {
    let home = Home::new();
    let machine = run(home.machine("P")).machine;
    let program = script(
        &home,
        r#"echo "$@" > "$0.arguments"; echo '{"type":"progress","message":"Thinking"}'; echo '{"type":"accepted"}'; echo '{"type":"running"}'"#,
    );
    assert_eq!(outcome("start", &home, &program), "started after [\"Thinking\"]");
    let arguments = fs::read_to_string(home.folder.path().join("supervisor.arguments")).unwrap();
    assert_eq!(arguments.trim(), format!("run {} --disposable", machine.path.display()));

    let program =
        script(&home, r#"echo '{"type":"failed","kind":"missing","message":"No QEMU","details":"looked everywhere","hint":"Install it"}'"#);
    assert_eq!(outcome("start", &home, &program), "Missing: No QEMU: looked everywhere (Some(\"Install it\")) after []");
    let program = script(&home, "echo 'it broke' >&2; exit 1");
    let said = outcome("start", &home, &program);
    assert!(said.starts_with("Supervisor:") && said.contains("it broke"), "{said}");
    let said = outcome("start", &home, Path::new("/nowhere/supervisor"));
    assert!(said.starts_with("Missing:"), "{said}");
}

#[test]
fn a_machine_that_runs_alone_is_adopted_by_whoever_asks() {
    let home = Home::new();
    let machine = run(home.machine("P")).machine;
    let runtime = home.library.places().runtime_of(&machine.id);
    fs::create_dir_all(runtime.path()).unwrap();
    fs::write(runtime.backend_record(), "{}").unwrap();
    let lock = bundle::Bundle::lock(&machine.path).unwrap();
    // The record may be of an earlier boot; who holds the lock tells.
    assert_eq!(home.library.find("P").unwrap().activity, Activity::Busy);
    let _backend = Backend::holding(&home, &lock);
    assert_eq!(home.library.find("P").unwrap().activity, Activity::Running);
    // The program says when it is asked to adopt, and goes on when there is a socket.
    let fifo = |name: &str| {
        let path = home.folder.path().join(name);
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        path
    };
    let (asked, served) = (fifo("asked"), fifo("served"));
    let program =
        script(&home, &format!("echo \"$1\" > {}; read x < {}; echo '{{\"type\":\"running\"}}'", asked.display(), served.display()));
    let child =
        process("in_a_process", &[("DO", "status".as_ref()), ("HOME_FOLDER", home.folder.path()), ("VIVARIUM_SUPERVISOR", &program)]);
    assert_eq!(fs::read_to_string(&asked).unwrap().trim(), "adopt");
    run(async {
        let supervisor = Supervisor::serve(&home.library, &machine, &[], Some(lock));
        fs::File::options().write(true).open(&served).unwrap().write_all(b"x\n").unwrap();
        let said = tokio::task::spawn_blocking(move || outcome_of(child)).await.unwrap();
        assert_eq!(said, "running");
        drop(supervisor);
    });
}

/// A process that is called like a backend, holds a lock and does nothing.
struct Backend(std::process::Child);

impl Backend {
    fn holding(home: &Home, lock: &bundle::BundleLock) -> Self {
        let program = home.folder.path().join("qemu-system-test");
        fs::copy("/bin/sleep", &program).unwrap();
        Self(std::process::Command::new(program).arg("1000").stdin(lock.try_clone().unwrap()).spawn().unwrap())
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_machine_that_cannot_be_adopted_is_an_error_and_one_that_is_busy_too() {
    let home = Home::new();
    let machine = run(home.machine("P")).machine;
    let lock = bundle::Bundle::lock(&machine.path).unwrap();
    let program = script(&home, r#"echo '{"type":"failed","kind":"backend","message":"It does not answer"}'"#);
    let busy = || {
        let said = outcome("status", &home, &program);
        assert!(said.starts_with("WrongState:") && said.contains(&format!("process {} ", std::process::id())), "{said}");
    };
    busy();
    let runtime = home.library.places().runtime_of(&machine.id);
    fs::create_dir_all(runtime.path()).unwrap();
    fs::write(runtime.backend_record(), "{}").unwrap();
    busy();
    let _backend = Backend::holding(&home, &lock);
    let said = outcome("status", &home, &program);
    assert!(said.starts_with("Supervisor:") && said.contains("It does not answer"), "{said}");
}

#[test]
fn a_machine_that_nothing_leads_to_is_named_and_can_be_killed() {
    let home = Home::new();
    run(async {
        let machine = home.machine("Lost").await.machine;
        let lock = bundle::Bundle::lock(&machine.path).unwrap();
        // Whoever only changes a bundle is not killed.
        let refused = home.library.stop(&machine, StopPlan::kill(), |_| {}).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::WrongState);
        let mut backend = Backend::holding(&home, &lock);
        drop(lock);
        for error in [
            home.library.status(&machine).await.unwrap_err(),
            home.library.start(&machine, StartOptions::default(), |_| {}).await.unwrap_err(),
            home.library.stop(&machine, StopPlan::request(LONG), |_| {}).await.unwrap_err(),
        ] {
            let text = format!("{error} {}", error.hint().unwrap_or_default());
            assert!(text.contains("running already") || text.contains(&backend.0.id().to_string()) && text.contains("--kill"), "{text}");
        }
        let stopped = home.library.stop(&machine, StopPlan::kill(), |_| {}).await.unwrap();
        assert_eq!((stopped.by, stopped.ending.unwrap().reason), (Some(StopMethod::Kill), EndReason::Killed));
        assert_eq!(backend.0.wait().unwrap().signal(), Some(9));

        let lock = bundle::Bundle::lock(&machine.path).unwrap();
        let mut backend = Backend::holding(&home, &lock);
        drop(lock);
        let stopped = home.library.stop(&machine, StopPlan::force(), |_| {}).await.unwrap();
        assert_eq!((stopped.by, stopped.ending.unwrap().reason), (Some(StopMethod::Force), EndReason::Forced));
        // So that it could close its images.
        assert_eq!(backend.0.wait().unwrap().signal(), Some(15));
        assert_eq!(home.library.status(&machine).await.unwrap().state, State::Stopped);
    });
}
