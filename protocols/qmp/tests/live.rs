//! The client and its bindings against the installed QEMU.

mod peer;

use std::{fs, io::Write, os::fd::AsFd, process::Command, time::Duration};

use peer::{PATIENCE, Qemu};
use qmp::{
    Error, ErrorClass, Event, Notice,
    commands::{
        AddFd, BlockdevAdd, BlockdevDel, Closefd, Cont, DeviceAdd, Getfd, HumanMonitorCommand, InputSendEvent, ObjectAdd, ObjectDel,
        QomList, QueryBlock, QueryBlockstats, QueryChardev, QueryCommands, QueryCpusFast, QueryFdsets, QueryMachines, QueryNamedBlockNodes,
        QueryQmpSchema, QueryStatus, QueryTarget, QueryVersion, QueryYank, Quit, RemoveFd, Screendump, Stop, SystemReset,
    },
    types::{InputEvent, InputKeyEvent, KeyCode, KeyValue, RunState, ShutdownCause, Target},
};
use serde_json::json;
use tokio::time::timeout;

const PROGRAM: &str = "qemu-system-x86_64";

fn installed() -> bool {
    let found = Command::new(PROGRAM).arg("--version").output().is_ok();
    if !found {
        println!("skipped: {PROGRAM} is not installed");
    }
    found
}

#[tokio::test]
async fn questions_without_a_machine() {
    if !installed() {
        return;
    }
    let (_qemu, client) = Qemu::start(PROGRAM, &["-machine", "none"]).await;
    let version = client.execute(QueryVersion::default()).await.unwrap();
    let greeted = client.greeting().version.unwrap();
    assert_eq!(greeted.0, u64::try_from(version.qemu.major).unwrap());
    assert_eq!(client.execute(QueryTarget::default()).await.unwrap().arch, Target::X86_64);
    assert_eq!(client.execute(QueryStatus::default()).await.unwrap().status, RunState::Prelaunch);
    let machines = client.execute(QueryMachines::default()).await.unwrap();
    assert!(machines.iter().any(|machine| machine.name == "none"));
    let commands = client.execute(QueryCommands::default()).await.unwrap();
    let schema = client.execute(QueryQmpSchema::default()).await.unwrap();
    assert!(commands.iter().all(|command| schema.has_command(&command.name)));
    assert!(schema.choices("blockdev-add", "driver").contains("qcow2"));
    assert!(schema.has_argument("blockdev-add", "cache.direct"));
    assert_eq!(client.execute(QueryChardev::default()).await.unwrap()[0].label, "monitor");
    assert!(!client.execute(QomList::new("/objects")).await.unwrap().is_empty());
    if client.out_of_band() {
        client.execute_oob(QueryYank::default()).await.unwrap();
        let refused = client.execute_oob(QueryStatus::default()).await.unwrap_err();
        assert_eq!(refused.class(), Some(&ErrorClass::GenericError), "{refused}");
    }
    let unknown = client.execute_raw("no-such-command", json!({})).await.unwrap_err();
    assert_eq!(unknown.class(), Some(&ErrorClass::CommandNotFound));
    let missing = client.execute(BlockdevDel::new("nobody")).await.unwrap_err();
    assert!(matches!(missing, Error::Command { .. }));
}

#[tokio::test]
async fn descriptors_are_taken() {
    if !installed() {
        return;
    }
    let (_qemu, client) = Qemu::start(PROGRAM, &["-machine", "none"]).await;
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&[0; 1 << 20]).unwrap();
    // At once: each has to end up with its own name.
    let names = ["a", "b", "c", "d"];
    let mut calls = tokio::task::JoinSet::new();
    for name in names {
        let client = client.clone();
        let file = file.try_clone().unwrap();
        calls.spawn(async move { client.execute_with_fd(Getfd::new(name), file.as_fd()).await });
    }
    while let Some(done) = calls.join_next().await {
        done.unwrap().unwrap();
    }
    for name in names {
        client.execute(Closefd::new(name)).await.unwrap();
    }

    let added = client.execute_with_fd(AddFd::default(), file.as_fd()).await.unwrap();
    let set = added.fdset_id;
    let sets = client.execute(QueryFdsets::default()).await.unwrap();
    assert_eq!(sets[0].fds[0].fd, added.fd);
    // tempfile opens for both, and so does the node: the access mode has to match one of the set's.
    let node = json!({"driver": "raw", "node-name": "disk", "file": {
        "driver": "file", "filename": format!("/dev/fdset/{set}"), "locking": "off"
    }});
    client.execute(BlockdevAdd(node)).await.unwrap();
    let nodes = client.execute(QueryNamedBlockNodes { flat: Some(true) }).await.unwrap();
    let disk = nodes.iter().find(|node| node.node_name.as_deref() == Some("disk")).unwrap();
    assert_eq!((disk.drv.as_str(), disk.image.virtual_size, disk.ro), ("raw", 1 << 20, false));
    let stats = client.execute(QueryBlockstats { query_nodes: Some(true) }).await.unwrap();
    assert!(!stats.is_empty());
    client.execute(BlockdevDel::new("disk")).await.unwrap();
    client.execute(RemoveFd::new(set)).await.unwrap();
}

#[tokio::test]
async fn a_machine_runs_stops_and_ends() {
    if !installed() {
        return;
    }
    let arguments = ["-machine", "q35,accel=tcg", "-m", "32", "-device", "VGA", "-device", "virtio-scsi-pci,id=scsi"];
    let (_qemu, client) = Qemu::start(PROGRAM, &arguments).await;
    let mut events = client.events();
    client.execute(Cont::default()).await.unwrap();
    client.execute(Stop::default()).await.unwrap();
    assert_eq!(client.execute(QueryStatus::default()).await.unwrap().status, RunState::Paused);
    assert_eq!(client.execute(QueryCpusFast::default()).await.unwrap()[0].target, Target::X86_64);
    client.execute(QueryBlock::default()).await.unwrap();
    let line = HumanMonitorCommand::new("info version");
    assert!(client.execute(line).await.unwrap().trim().starts_with(|c: char| c.is_ascii_digit()));

    let mut object = ObjectAdd::new("throttle-group".into(), "limits");
    object.more.insert("limits".to_owned(), json!({"iops-total": 100}));
    client.execute(object).await.unwrap();
    client.execute(ObjectDel::new("limits")).await.unwrap();
    let node = json!({"driver": "null-co", "node-name": "nothing", "size": 1 << 20, "read-zeroes": true});
    client.execute(BlockdevAdd(node)).await.unwrap();
    let mut device = DeviceAdd { id: Some("disk".to_owned()), bus: Some("scsi.0".to_owned()), ..DeviceAdd::new("scsi-hd") };
    device.more.insert("drive".to_owned(), "nothing".into());
    client.execute(device).await.unwrap();
    let blocks = client.execute(QueryBlock::default()).await.unwrap();
    assert!(blocks.iter().any(|block| block.inserted.as_ref().is_some_and(|inserted| inserted.drv == "null-co")));

    let key = |down| InputEvent::Key { data: InputKeyEvent { key: KeyValue::Qcode { data: KeyCode::A }, down } };
    // Paused machines take no input.
    client.execute(Cont::default()).await.unwrap();
    client.execute(InputSendEvent::new(vec![key(true), key(false)])).await.unwrap();

    let directory = tempfile::tempdir().unwrap();
    let picture = directory.path().join("screen");
    let shot = Screendump::new(picture.to_str().unwrap());
    client.execute(shot).await.unwrap();
    assert!(fs::read(&picture).unwrap().starts_with(b"P6"));

    client.execute(SystemReset::default()).await.unwrap();
    client.execute(Quit::default()).await.unwrap();
    let mut names = Vec::new();
    let cause = loop {
        match timeout(PATIENCE, events.next()).await.unwrap() {
            Some(Notice::Event { event: Event::Shutdown(shutdown), .. }) => break shutdown.reason,
            Some(Notice::Event { event, .. }) => names.push(event.name().to_owned()),
            other => panic!("{other:?} after {names:?}"),
        }
    };
    assert_eq!(cause, ShutdownCause::HostQmpQuit);
    for name in ["RESUME", "STOP", "RESET"] {
        assert!(names.iter().any(|seen| seen == name), "{name} is not in {names:?}");
    }
    timeout(PATIENCE, client.closed()).await.unwrap();
}

#[tokio::test]
async fn the_guest_agent_of_the_host() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("agent");
    // It is a system's program, which an ordinary user's path may leave out.
    let path_variable = format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default());
    let started = Command::new("qemu-ga")
        .env("PATH", path_variable)
        .args(["-m", "unix-listen", "-t"])
        .arg(directory.path())
        .arg("-p")
        .arg(&path)
        .stderr(tempfile::tempfile().unwrap())
        .spawn();
    let Ok(mut agent) = started else {
        println!("skipped: qemu-ga is not installed");
        return;
    };
    let client = timeout(PATIENCE, async {
        loop {
            // It cannot say when it listens.
            match qmp::agent::Client::connect(&path).await {
                Ok(client) => break client,
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    })
    .await
    .unwrap();
    client.execute(qmp::agent::Ping {}).await.unwrap();
    assert!(!client.execute(qmp::agent::Info {}).await.unwrap().supported_commands.is_empty());
    agent.kill().unwrap();
    agent.wait().unwrap();
}
