//! The fake passes the suite that every backend passes, and does what a test tells it to.

use async_trait::async_trait;
use futures::StreamExt;
use machine::conformance::{self, Harness};
use machine::fake::{FakeGuest, FakeMachine};
use machine::{EndReason, Event, StartOptions, State, StopMethod, VirtualMachine};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

struct Fakes;

#[async_trait]
impl Harness for Fakes {
    async fn machine(&self) -> Arc<dyn VirtualMachine> {
        Arc::new(FakeMachine::new("fake", FakeGuest::default()))
    }
    async fn guest_is_up(&self, _: &dyn VirtualMachine) {}
    fn medium(&self) -> PathBuf {
        "/some/where.iso".into()
    }
    fn console_exchange(&self) -> (Vec<u8>, Vec<u8>) {
        (b"echo\n".to_vec(), b"echo".to_vec())
    }
    fn patience(&self) -> Duration {
        Duration::from_secs(10)
    }
}

#[tokio::test]
async fn the_fake_conforms() {
    conformance::run(&Fakes).await;
}

#[tokio::test]
async fn a_backend_that_dies_is_told_with_its_reason() {
    let machine = FakeMachine::new("fake", FakeGuest::default());
    machine.start(StartOptions::default()).await.unwrap();
    let mut events = machine.events();
    machine.backend_dies("It fell over");
    assert_eq!(machine.state(), State::Error);
    assert!(matches!(events.next().await, Some(Event::StateChanged { to: State::Error, .. })));
    let Some(Event::Ended { ending }) = events.next().await else { panic!("no ending") };
    assert_eq!((ending.reason, ending.message.as_str()), (EndReason::BackendDied, "It fell over"));
}

#[tokio::test]
async fn a_guest_that_ignores_the_power_button_runs_on() {
    let machine = FakeMachine::new("fake", FakeGuest { answers_power_button: false, ..FakeGuest::default() });
    machine.start(StartOptions::default()).await.unwrap();
    machine.stop(StopMethod::Request).await.unwrap();
    assert_eq!(machine.state(), State::Running);
}
