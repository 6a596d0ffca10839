//! What a person does with a machine that runs.

use acceptance::guests::Guests;
use acceptance::{Home, Ran};

#[test]
fn a_machine_runs_answers_and_shuts_down() {
    let Some(kernel) = Guests::find("x86_64") else { return };
    let home = Home::new();
    let guest = home.create("Demo", kernel.arguments("q35", ""));
    guest.start();
    guest.up();
    assert_eq!(guest.run("echo $((6 * 7))"), "42");
    let ran: Ran = home.command(["stop", "Demo"]).output().unwrap().into();
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(guest.ending()["reason"], "guest_shutdown");
}
