//! One debugger's session, from its connection to its end.

use std::io;
use std::os::fd::OwnedFd;

use gdbstub::common::Signal;
use gdbstub::conn::ConnectionExt;
use gdbstub::stub::run_blocking::{BlockingEventLoop, Event as Next, WaitForStopReasonError};
use gdbstub::stub::{GdbStub, MultiThreadStopReason};
use hv::Event;
use rustix::event::{PollFd, PollFlags};

use super::Debuggee;
use super::target::{Debugged, Stop};

/// The connection.
type Connection = Box<dyn ConnectionExt<Error = io::Error>>;

/// What is waited for while the guest runs.
enum Loop {}

/// Serves a debugger until it goes, or the guest does. The guest then runs on as if nobody had been there.
pub fn serve(connection: Connection, descriptor: OwnedFd, debuggee: Debuggee) -> io::Result<()> {
    let told = Event::new()?;
    let mut target = Debugged::attach(debuggee, told, descriptor);
    let ended = GdbStub::new(connection).run_blocking::<Loop>(&mut target);
    drop(target);
    ended.map(drop).map_err(|error| io::Error::other(error.to_string()))
}

impl BlockingEventLoop for Loop {
    type Target = Debugged;
    type Connection = Connection;
    type StopReason = MultiThreadStopReason<u64>;

    fn wait_for_stop_reason(
        target: &mut Debugged,
        connection: &mut Connection,
    ) -> Result<Next<Self::StopReason>, WaitForStopReasonError<String, io::Error>> {
        loop {
            match target.stop().map_err(WaitForStopReasonError::Target)? {
                Stop::None => {}
                Stop::Some(reason) => return Ok(Next::TargetStopped(reason)),
                Stop::Gone => return Ok(Next::TargetStopped(MultiThreadStopReason::Exited(0))),
            }
            let (told, descriptor) = target.waits();
            let mut both = [PollFd::new(told, PollFlags::IN), PollFd::new(descriptor, PollFlags::IN)];
            match rustix::event::poll(&mut both, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(WaitForStopReasonError::Connection(error.into())),
            }
            let is_told = !both[0].revents().is_empty();
            if !is_told && !both[1].revents().is_empty() {
                return connection.read().map(Next::IncomingData).map_err(WaitForStopReasonError::Connection);
            }
        }
    }

    fn on_interrupt(target: &mut Debugged) -> Result<Option<Self::StopReason>, String> {
        Ok(Some(MultiThreadStopReason::SignalWithThread { tid: target.interrupt(), signal: Signal::SIGINT }))
    }
}
