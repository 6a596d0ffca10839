//! The list as a person sees it, and against a list that is made anew each time.

use bundle::{Architecture, Level, Problem};
use library::{Activity, Condition, Summary};
use machine::{BackendKind, State};
use proptest::prelude::*;

use super::*;
use crate::home::Mark;

fn machine(name: &str) -> Machine {
    let summary = Summary {
        backend: BackendKind::Qemu,
        architecture: Architecture::X86_64,
        target: "q35".into(),
        memory_mib: 4096,
        cpu_count: 4,
        icon: Some("debian".into()),
        icon_custom: false,
        problems: Vec::new(),
    };
    Machine {
        name: name.to_owned(),
        uuid: Some(Uuid::new_v4()),
        path: format!("/machines/{name}.utm").into(),
        id: name.to_owned(),
        registered: false,
        condition: Condition::Usable(summary),
        activity: Activity::Stopped,
        duplicate_of: None,
    }
}

fn broken(name: &str) -> Machine {
    let problem = Problem::new(Level::Fatal, "System.Target", "`foo` is not a machine");
    Machine { condition: Condition::Broken(vec![problem]), uuid: None, ..machine(name) }
}

fn path(name: &str) -> PathBuf {
    format!("/machines/{name}.utm").into()
}

fn state(name: &str, state: State) -> LibraryEvent {
    LibraryEvent::StateChanged { path: path(name), state }
}

/// The list as it is read: headings in brackets.
fn read(home: &Home) -> Vec<String> {
    (0..home.len()).map(|line| line_text(home, line)).collect()
}

fn line_text(home: &Home, line: usize) -> String {
    let entry = home.entry(line).unwrap();
    let heading = home.heading(line).map(|group| format!("[{}] ", group.text())).unwrap_or_default();
    format!("{heading}{}: {}", entry.machine().name, entry.mark().text())
}

#[test]
fn what_runs_comes_first_and_what_is_broken_keeps_its_place() {
    let mut home = Home::new(vec![machine("Fedora"), broken("Alpine"), machine("Debian 13"), machine("Debian 9")]);
    assert_eq!(home.heard(state("Debian 13", State::Running)), [Change::Removed(2), Change::Inserted(0)]);
    let lines = ["[Active] Debian 13: Running", "[All machines] Alpine: Cannot be read", "Debian 9: Stopped", "Fedora: Stopped"];
    assert_eq!(read(&home), lines);
    let failure = home.machine(&path("Alpine")).unwrap().failure().unwrap();
    assert!(failure.problems[0].message.contains("foo") && failure.hint.unwrap().contains("config.plist"));
    assert_eq!(failure.cures, [Command::ShowFiles, Command::Delete]);
}

#[test]
fn a_copy_gets_a_name_that_no_machine_has_even_one_that_a_search_hides() {
    let mut home = Home::new(vec![machine("Debian"), machine("Debian 2"), machine("Alpine")]);
    home.set_filter(Filter::new("alp", Vec::new()));
    assert_eq!((home.len(), home.free_name("Debian").as_str(), home.free_name("Alpine").as_str()), (1, "Debian 3", "Alpine 2"));
    assert!(home.has_name("Debian 2") && !home.has_name("Debian 3"));
}

#[test]
fn a_disk_that_is_unplugged_takes_its_machine_along_only_for_a_while() {
    let mut home = Home::new(vec![Machine { registered: true, ..machine("Travel") }]);
    let gone = Condition::Unavailable { missing: true, why: "No such file or directory".into() };
    home.heard(LibraryEvent::MachineChanged(Machine { registered: true, condition: gone, ..machine("Travel") }));
    let entry = home.entry(0).unwrap();
    assert_eq!((entry.mark(), entry.failure().unwrap().cures), (Mark::Unavailable, vec![Command::Unregister]));
    home.heard(LibraryEvent::MachineChanged(Machine { registered: true, ..machine("Travel") }));
    assert_eq!(home.entry(0).unwrap().mark(), Mark::State(State::Stopped));
}

#[test]
fn search_finds_by_words_in_any_order_and_tags() {
    let mut home = Home::new(vec![machine("Debian 13"), machine("Überwachung"), broken("pfSense")]);
    assert_eq!(home.set_filter(Filter::new("13 deb", Vec::new())), [Change::Reset]);
    assert_eq!(read(&home), ["[All machines] Debian 13: Stopped"]);
    home.set_filter(Filter::new("uber", Vec::new()));
    assert_eq!(home.len(), 1);
    home.set_filter(Filter::new("", vec![Tag::Attention]));
    assert_eq!(read(&home), ["[All machines] pfSense: Cannot be read"]);
    assert_eq!(home.tags().get(&Tag::System("debian".into())), Some(&2));
    home.set_filter(Filter::new("nothing of the kind", Vec::new()));
    assert!(home.empty().unwrap().clear.is_some());
    assert_eq!(Home::new(Vec::new()).empty().unwrap().commands, [Command::NewMachine, Command::Import]);
}

#[test]
fn the_selection_follows_a_renamed_machine_and_moves_on_from_a_deleted_one() {
    let old = machine("Debian");
    let mut home = Home::new(vec![old.clone(), machine("Fedora"), machine("Zorin")]);
    home.select(Some(&path("Debian")));
    let new = Machine { name: "Server".into(), path: path("Server"), ..old };
    home.heard(LibraryEvent::MachineAdded(new));
    home.heard(LibraryEvent::MachineRemoved { path: path("Debian"), name: "Debian".into() });
    assert_eq!(home.selected().unwrap().machine().name, "Server");
    home.heard(LibraryEvent::MachineRemoved { path: path("Server"), name: "Server".into() });
    assert_eq!(home.selected().unwrap().machine().name, "Zorin");
    home.step(-1);
    assert_eq!(home.selected().unwrap().machine().name, "Fedora");
    home.step(-1);
    assert_eq!(home.selected().unwrap().machine().name, "Fedora");
}

#[test]
fn commands_follow_the_selected_machine() {
    let mut home = Home::new(vec![machine("Debian")]);
    assert_eq!(home.available(Command::Start), Err(Refusal::NoMachine));
    home.select(Some(&path("Debian")));
    assert_eq!(home.available(Command::Start), Ok(()));
    home.set_working(&path("Debian"), true);
    assert_eq!(home.available(Command::Start), Err(Refusal::Working));
    home.set_working(&path("Debian"), false);
    home.heard(state("Debian", State::Running));
    assert_eq!(home.available(Command::Start), Err(Refusal::Running));
}

#[test]
fn one_event_among_ten_thousand_machines_changes_two_lines() {
    let mut home = Home::new((0..10_000).map(|number| machine(&format!("Machine {number}"))).collect());
    assert_eq!(home.entry(9_999).unwrap().machine().name, "Machine 9999");
    let changes = home.heard(state("Machine 5000", State::Running));
    assert_eq!(changes, [Change::Removed(5000), Change::Inserted(0)]);
    assert_eq!(home.heard(state("Machine 5000", State::Paused)), [Change::Changed(0)]);
}

const NAMES: [&str; 6] = ["Alpine", "Debian 9", "Debian 12", "Fedora", "pfSense", "Zorin"];

#[derive(Debug, Clone)]
enum Step {
    Add(usize, bool),
    Remove(usize),
    State(usize, State),
    Filter(&'static str),
    Select(isize),
}

fn step() -> impl Strategy<Value = Step> {
    let name = 0..NAMES.len();
    prop_oneof![
        3 => (name.clone(), any::<bool>()).prop_map(|(name, broken)| Step::Add(name, broken)),
        2 => name.clone().prop_map(Step::Remove),
        4 => (name, prop::sample::select(State::ALL.to_vec())).prop_map(|(name, state)| Step::State(name, state)),
        1 => prop::sample::select(vec!["", "deb", "a", "zzz"]).prop_map(Step::Filter),
        2 => (-2..3isize).prop_map(Step::Select),
    ]
}

proptest! {
    /// A view that does what the changes say draws what a view draws that looks at everything again.
    #[test]
    fn changes_tell_everything(steps in prop::collection::vec(step(), 1..80)) {
        let mut home = Home::new(vec![machine(NAMES[0])]);
        let mut drawn = read(&home);
        let mut selected = None;
        for step in steps {
            let changes = match step {
                Step::Add(name, true) => home.heard(LibraryEvent::MachineAdded(broken(NAMES[name]))),
                Step::Add(name, false) => home.heard(LibraryEvent::MachineChanged(machine(NAMES[name]))),
                Step::Remove(name) => home.heard(LibraryEvent::MachineRemoved { path: path(NAMES[name]), name: String::new() }),
                Step::State(name, to) => home.heard(state(NAMES[name], to)),
                Step::Select(lines) => home.step(lines),
                Step::Filter(text) => home.set_filter(Filter::new(text, Vec::new())),
            };
            // As a view does: first the lines' number, then what is in those that were told.
            let mut stale = vec![false; drawn.len()];
            for change in &changes {
                match *change {
                    Change::Reset => (drawn, stale) = (read(&home), vec![false; home.len()]),
                    Change::Inserted(line) => { drawn.insert(line, String::new()); stale.insert(line, true); }
                    Change::Removed(line) => { drawn.remove(line); stale.remove(line); }
                    Change::Changed(line) => stale[line] = true,
                    Change::Selection => {}
                }
            }
            for (line, stale) in stale.iter().enumerate() {
                if *stale {
                    drawn[line] = line_text(&home, line);
                }
            }
            prop_assert_eq!(&drawn, &read(&home), "after {:?}", changes);
            // Who draws the selected machine's page hears of every change of it.
            let now = home.selected().map(|entry| (entry.machine().clone(), entry.mark()));
            prop_assert!(changes.contains(&Change::Selection) || now == selected, "after {:?}", changes);
            selected = now;
            let mut keys: Vec<_> = home.visible.clone();
            keys.sort();
            prop_assert_eq!(&keys, &home.visible);
        }
    }
}
