//! Events, without polling.

mod home;
#[path = "home/supervisor.rs"]
mod supervisor;

use std::fs;
use std::path::Path;
use std::time::Duration;

use home::{Home, run};
use library::{Condition, Deletion, Job, LibraryEvent, Watch};
use machine::State;
use supervisor::Supervisor;

/// The next event that `wanted` knows; others are passed over. Only a test that fails waits long.
async fn until<T>(watch: &mut Watch, wanted: impl Fn(&LibraryEvent) -> Option<T>) -> T {
    let found = async {
        loop {
            let event = watch.next().await.expect("watching goes on");
            if let Some(found) = wanted(&event) {
                return found;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), found).await.expect("the event came")
}

async fn state(watch: &mut Watch, wanted: State) {
    until(watch, |event| matches!(event, LibraryEvent::StateChanged { state, .. } if *state == wanted).then_some(())).await;
}

#[test]
fn machines_that_come_change_and_go_are_told() {
    let home = Home::new();
    run(async {
        let mut watch = home.library.watch().unwrap();
        let machine = home.machine("A").await.machine;
        let added = until(&mut watch, |event| match event {
            LibraryEvent::MachineAdded(machine) => Some(machine.clone()),
            _ => None,
        })
        .await;
        assert_eq!((added.name.as_str(), &added.path), ("A", &machine.path));
        home.library
            .edit(&machine, |configuration| {
                let bundle::Configuration::Qemu(qemu) = configuration else { panic!() };
                qemu.system.memory_size = 777;
                Ok(())
            })
            .unwrap();
        until(&mut watch, |event| match event {
            LibraryEvent::MachineChanged(machine) => (machine.summary()?.memory_mib == 777).then_some(()),
            _ => None,
        })
        .await;
        let renamed = home.library.rename(&machine, "B").unwrap();
        until(&mut watch, |event| matches!(event, LibraryEvent::MachineRemoved { name, .. } if name == "A").then_some(())).await;
        home.library.delete(&renamed, Deletion::Permanent).await.unwrap();
        until(&mut watch, |event| matches!(event, LibraryEvent::MachineRemoved { name, .. } if name == "B").then_some(())).await;
    });
}

#[test]
fn states_are_told_from_start_to_end() {
    let home = Home::new();
    run(async {
        let machine = home.machine("S").await.machine;
        let mut watch = home.library.watch().unwrap();
        let supervisor = Supervisor::start(&home.library, &machine, &[]);
        state(&mut watch, State::Running).await;
        supervisor.set_state(State::Paused);
        state(&mut watch, State::Paused).await;
        supervisor.end();
        state(&mut watch, State::Stopped).await;
        // And again, with the folder of sockets there already.
        let supervisor = Supervisor::start(&home.library, &machine, &[]);
        state(&mut watch, State::Running).await;
        // The supervisor dies, the backend runs on: nothing is told until the lock is given back.
        let runtime = home.library.places().runtime_of(&machine.id);
        fs::write(runtime.backend_record(), "{}").unwrap();
        let lock = supervisor.die();
        drop(lock);
        state(&mut watch, State::Stopped).await;
    });
}

#[test]
fn a_machine_that_runs_already_tells_its_state() {
    let home = Home::new();
    run(async {
        let machine = home.machine("S").await.machine;
        let supervisor = Supervisor::start(&home.library, &machine, &[]);
        supervisor.set_state(State::Paused);
        let mut watch = home.library.watch().unwrap();
        state(&mut watch, State::Paused).await;
        supervisor.end();
    });
}

#[test]
fn a_registered_bundle_that_goes_and_comes_back_is_told() {
    let home = Home::new();
    run(async {
        let machine = home.machine("Far").await.machine;
        let disk = home.elsewhere("disk/deep");
        let moved = home.library.move_to(&machine, &disk, &Job::silent()).await.unwrap();
        let mut watch = home.library.watch().unwrap();
        let (at, aside) = (home.folder.path().join("disk"), home.folder.path().join("aside"));
        let changed = |event: &LibraryEvent, usable: bool| match event {
            LibraryEvent::MachineChanged(machine) if machine.path == moved.path => {
                (usable == matches!(machine.condition, Condition::Usable(_))).then_some(())
            }
            _ => None,
        };
        fs::rename(&at, &aside).unwrap();
        until(&mut watch, |event| changed(event, false)).await;
        fs::rename(&aside, &at).unwrap();
        until(&mut watch, |event| changed(event, true)).await;
        home.library.unregister(&moved).unwrap();
        until(&mut watch, |event| matches!(event, LibraryEvent::MachineRemoved { .. }).then_some(())).await;
        assert!(Path::new(&moved.path).is_dir());
    });
}
