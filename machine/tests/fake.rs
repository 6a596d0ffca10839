//! The fake passes the suite that every backend passes, and does what a test tells it to.

use async_trait::async_trait;
use futures::StreamExt;
use keymap::Key;
use machine::conformance::{self, Harness};
use machine::display::{Input, Rect, Size, SizeRequest};
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

#[tokio::test]
async fn what_one_viewer_does_the_other_sees() {
    let machine = FakeMachine::new("fake", FakeGuest { heads: 2, ..FakeGuest::default() });
    machine.start(StartOptions::default()).await.unwrap();
    let (one, other) = (machine.viewer().await.unwrap(), machine.viewer().await.unwrap());
    let (acts, mut looks, mut elsewhere) = (one.open(1).await.unwrap(), other.open(1).await.unwrap(), other.open(0).await.unwrap());
    assert!(looks.frames.next().await.unwrap().replaced && elsewhere.frames.next().await.unwrap().replaced);
    acts.control.send(Input::Key { key: Key::named("a").unwrap(), down: true }).await.unwrap();
    let update = looks.frames.next().await.unwrap();
    assert_eq!(update.damage.rects(), [Rect { x: 0, y: 0, width: 8, height: 8 }]);
    assert_eq!(update.shown.surface().unwrap().to_rgb().unwrap()[..3], [1; 3]);
    let size = Size::new(100, 50).unwrap();
    acts.control.request_size(SizeRequest::pixels(size)).await.unwrap();
    assert_eq!(looks.frames.next().await.unwrap().shown.surface().unwrap().size(), size);
    assert!(elsewhere.frames.take().is_none(), "the other head is as it was");
}
