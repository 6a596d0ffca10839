//! Real guests on KVM.
//!
//! `cargo xtask test` runs these where there is KVM, in an emulated Linux if need be; `cargo nextest run -p virtualization` alone leaves
//! them out on a computer without. The guests are those of `cargo xtask guests x86_64`.

mod debugger;
mod guest;
mod nbd;
mod page;
mod peripherals;
mod saved;
mod sharing;
mod vmrun;

use guest::Guest;
use virtualization::{Event, Platform, State};

#[test]
fn a_guest_sees_its_processors_and_memory_and_takes_what_is_typed() {
    let Some(mut guest) = Guest::prepare() else { return };
    guest.configuration.cpu_count = 4;
    guest.unpacked_by_host = false;
    guest.start("");
    guest.run("echo processors $(nproc)", "processors 4");
    guest.run(r#"free -m | awk '/Mem:/ {print "memory", ($2 > 400 && $2 < 512)}'"#, "memory 1");
    let Platform::Generic(platform) = guest.configuration.platform.clone() else { panic!("it is no generic platform") };
    guest.run("echo uuid $(cat /sys/class/dmi/id/product_uuid)", &format!("uuid {}", platform.machine_identifier));
    guest.machine().pause().wait().unwrap();
    assert_eq!(guest.machine().state(), State::Paused);
    guest.machine().resume().wait().unwrap();
    guest.run("echo alive $((6 * 7))", "alive 42");
    guest.machine().request_stop().wait().unwrap();
    guest.wait_for("vivarium guest going down");
    assert!(matches!(guest.event(), Event::GuestStopped));
    assert_eq!(guest.machine().state(), State::Stopped);
}

#[test]
fn a_reboot_and_a_power_off_are_what_they_are() {
    let Some(mut guest) = Guest::prepare() else { return };
    guest.start("quiet");
    guest.type_line("reboot -f");
    assert!(matches!(guest.event(), Event::GuestRebooted));
    guest.wait_for("vivarium guest ready");
    guest.power_off();
}

#[test]
fn a_panic_and_a_triple_fault_are_what_they_are() {
    // After the panic the kernel reboots, by a triple fault.
    let Some(mut guest) = Guest::prepare() else { return };
    guest.start("quiet panic=-1 reboot=t");
    guest.type_line("echo c > /proc/sysrq-trigger");
    assert!(matches!(guest.event(), Event::GuestPanicked));
    let Event::StoppedWithError(error) = guest.event() else { panic!("the machine went on") };
    assert!(error.to_string().contains("triple fault"), "{error}");
    assert_eq!(guest.machine().state(), State::Error);
}

#[test]
fn stop_ends_a_guest_at_once() {
    let Some(mut guest) = Guest::prepare() else { return };
    guest.configuration.cpu_count = 2;
    guest.start_only("");
    guest.wait_for("Linux version");
    guest.machine().stop().wait().unwrap();
    assert_eq!(guest.machine().state(), State::Stopped);
}
