//! The editor as a person uses it, and whatever is typed.

use std::collections::BTreeMap;

use bundle::key_path;
use bundle::{Architecture, Configuration, Schema, apple, qemu, tables};
use library::Host;
use proptest::prelude::*;

use super::*;

const SCHEMAS: [(&str, &Schema); 2] = [("QEMU", qemu::Configuration::SCHEMA), ("Apple", apple::Configuration::SCHEMA)];

fn host() -> Host {
    Host { architecture: Some(Architecture::X86_64), memory_mib: 24 << 10, free_memory_mib: Some(14_541), cores: 8, is_mac: false }
}

fn editor() -> Editor {
    let mut configuration = tables::default_configuration(Architecture::X86_64, "q35", Some(Architecture::X86_64));
    configuration.information.name = "Debian".into();
    configuration.system.memory_size = 4096;
    Editor::new(Configuration::Qemu(configuration), host())
}

fn qemu(editor: &Editor) -> &qemu::Configuration {
    editor.draft().as_qemu().unwrap()
}

fn setting(editor: &Editor, path: &str) -> Setting {
    let all = editor.pages().into_iter().flat_map(|page| editor.settings(page.group, page.element));
    all.into_iter().find(|setting| setting.path == path).unwrap_or_else(|| panic!("{path} is on no page"))
}

#[test]
fn every_key_is_a_setting_with_label_and_help_exactly_once() {
    for (name, schema) in SCHEMAS {
        let mut settings: BTreeMap<&str, usize> = BTreeMap::new();
        for field in fields_of(schema) {
            *settings.entry(field.path).or_default() += 1;
        }
        for key in key_path::keys(schema) {
            assert_eq!(settings.remove(key.path.as_str()), Some(1), "{name}: {}", key.path);
        }
        assert!(settings.is_empty(), "{name}: there are no such keys: {settings:?}");
    }
}

#[test]
fn labels_and_help_are_of_one_style() {
    let mut ids = std::collections::HashSet::new();
    for field in SCHEMAS.into_iter().flat_map(|(_, schema)| fields_of(schema)) {
        for text in [field.label, field.help] {
            assert!(ids.insert(text.id), "{} is there twice", text.id);
            assert!(!text.english.is_empty() && !text.english.ends_with('.') && !text.english.contains('`'), "{}", text.english);
            assert!(text.english.starts_with(|first: char| first.is_uppercase() || first.is_ascii_digit()), "{}", text.english);
        }
        assert!(field.label.english.len() <= 40 && field.help.english.len() <= 120, "{}: too long for a line", field.path);
    }
}

#[test]
fn everything_that_a_machine_has_is_on_one_page() {
    let mut editor = editor();
    for device in editor.addable() {
        editor.add(device).unwrap();
    }
    editor.add_forward(0).unwrap();
    editor.add_forward(0).unwrap();
    let mut shown: BTreeMap<String, usize> = BTreeMap::new();
    for page in editor.pages() {
        for setting in editor.settings(page.group, page.element) {
            *shown.entry(setting.path).or_default() += 1;
        }
    }
    assert!(shown.values().all(|count| *count == 1), "{shown:?}");
    for (path, _) in
        key_path::entries(editor.draft()).into_iter().filter(|(path, _)| !["Backend", "ConfigurationVersion"].contains(&path.as_str()))
    {
        assert!(
            shown.contains_key(&path) || editor.count(&path) == 0 && Group::ALL.iter().any(|group| group.list() == Some(&path)),
            "{path}"
        );
    }
    assert_eq!(editor.text("Network[0].PortForward[1].HostPort"), "2223");
}

#[test]
fn what_is_typed_stays_until_it_makes_sense() {
    let mut editor = editor();
    editor.set("System.MemorySize", "6");
    editor.set("System.MemorySize", "6 G");
    assert_eq!((qemu(&editor).system.memory_size, editor.text("System.MemorySize")), (6144, "6 GiB".into()));
    editor.set("System.MemorySize", "6 Gx");
    assert_eq!((qemu(&editor).system.memory_size, editor.text("System.MemorySize")), (6144, "6 Gx".into()));
    let problem = &editor.problems_of("System.MemorySize")[0];
    assert!(problem.is_fatal() && problem.key_path == "System.MemorySize", "{problem:?}");
    assert_eq!(editor.save(false), Err(NotSaved::Problems(1)));
    editor.set("System.MemorySize", "6 GiB");
    assert_eq!(editor.save(false), Ok(Save::Now));
    editor.set("System.MemorySize", "4 GiB");
    assert_eq!((editor.save(false), editor.is_dirty()), (Err(NotSaved::Unchanged), false));
}

#[test]
fn a_name_that_nobody_could_see_is_refused() {
    let mut editor = editor();
    editor.set("Information.Name", " ");
    let problems = editor.problems_of("Information.Name");
    assert!(problems.len() == 1 && problems[0].message.contains("it is empty"), "{problems:?}");
    assert_eq!(editor.save(false), Err(NotSaved::Problems(1)));
    editor.set("Information.Name", "Debian");
    assert!(!editor.is_dirty());
}

#[test]
fn a_clash_is_told_where_it_is_and_goes_with_its_cause() {
    let mut editor = editor();
    editor.add_forward(0).unwrap();
    editor.add_forward(0).unwrap();
    editor.set("Network[0].PortForward[1].HostPort", "2222");
    let said = editor.problems_of("Network[0].PortForward[1].HostPort")[0].message.clone();
    assert!(said.contains("also forwarded"), "{said}");
    editor.set("Network[0].PortForward[0].HostPort", "8080");
    assert!(editor.problems().iter().all(|problem| !problem.is_fatal()), "{:?}", editor.problems());
    assert_eq!(qemu(&editor).networks[0].port_forwards[1].host_port, 2222);
}

#[test]
fn another_machine_type_says_what_it_resets_and_does_it() {
    let mut editor = editor();
    assert!(editor.consequence("System.MemorySize", "1 GiB").is_none());
    assert!(editor.consequence("System.Architecture", "aarch64").unwrap().to_string().ends_with("suits virt"));
    editor.set("Network[0].MacAddress", "nonsense");
    editor.set("System.Architecture", "s390x");
    let system = &qemu(&editor).system;
    assert_eq!((system.target.as_str(), system.memory_size), ("s390-ccw-virtio", 4096), "memory is kept");
    assert!(!qemu(&editor).qemu.hypervisor);
    editor.set("System.Target", "q53");
    assert!(editor.problems_of("System.Target")[0].is_fatal());
}

#[test]
fn controls_follow_the_kind_of_key_and_the_architecture() {
    let mut editor = editor();
    assert_eq!(setting(&editor, "QEMU.UEFIBoot").control, Control::Switch);
    assert_eq!(setting(&editor, "System.MemorySize").control, Control::Size);
    assert_eq!(setting(&editor, "Information.Notes").control, Control::LongText);
    assert_eq!(setting(&editor, "Network[0].Mode").control, Control::Choice(qemu::NetworkMode::NAMES));
    assert_eq!(setting(&editor, "System.Target").control, Control::Suggestions(tables::machines(Architecture::X86_64)));
    editor.set("System.Architecture", "aarch64");
    assert_eq!(setting(&editor, "System.Target").control, Control::Suggestions(tables::machines(Architecture::Aarch64)));
    assert!(setting(&editor, "QEMU.DebugLog").is_default && setting(&editor, "Information.UUID").default.is_none());
}

#[test]
fn numbers_within_their_range_are_accepted() {
    let mut editor = editor();
    editor.add(Device::Cd).unwrap();
    editor.add_forward(0).unwrap();
    let all: Vec<Setting> = editor.pages().into_iter().flat_map(|page| editor.settings(page.group, page.element)).collect();
    let numbers = all.iter().filter_map(|setting| match setting.control {
        Control::Number { least, most } => Some((&setting.path, [least, most], most < u64::from(u32::MAX))),
        _ => None,
    });
    for (path, limits, is_bounded) in numbers {
        assert!(is_bounded, "{path} has no range");
        for limit in limits {
            editor.set(path, &limit.to_string());
            assert!(editor.problems_of(path).is_empty(), "{path}: {:?}", editor.problems_of(path));
        }
    }
}

#[test]
fn arguments_are_words_and_lists_have_commas() {
    let mut editor = editor();
    editor.set("QEMU.AdditionalArguments", "-device 'a b'");
    assert_eq!(qemu(&editor).qemu.additional_arguments, ["-device", "a b"]);
    assert_eq!(editor.text("QEMU.AdditionalArguments"), "-device 'a b'");
    editor.set("QEMU.AdditionalArguments", "-device 'a");
    assert!(editor.problems_of("QEMU.AdditionalArguments")[0].is_fatal());
    editor.set("System.CPUFlagsAdd", "avx2, aes");
    assert_eq!(qemu(&editor).system.cpu_flags_add, ["avx2", "aes"]);
    editor.set("System.CPUFlagsAdd", "");
    assert!(qemu(&editor).system.cpu_flags_add.is_empty());
}

#[test]
fn what_can_do_without_is_taken_away_by_nothing() {
    let mut editor = editor();
    editor.set("Display[0].VgaRamMib", "64 MiB");
    assert_eq!(qemu(&editor).displays[0].vga_ram_mib, Some(64));
    editor.set("Display[0].VgaRamMib", "");
    assert_eq!(qemu(&editor).displays[0].vga_ram_mib, None);
    editor.set("System.MemorySize", "");
    assert_eq!((qemu(&editor).system.memory_size, editor.problems_of("System.MemorySize").len()), (4096, 1));
}

#[test]
fn devices_are_added_moved_and_removed_with_what_was_typed() {
    let mut editor = editor();
    assert_eq!(editor.add(Device::Network).as_deref(), Some("Network[1]"));
    editor.set("Network[1].MacAddress", "half");
    assert!(editor.reorder(Group::Network, 1, 0));
    assert_eq!(editor.text("Network[0].MacAddress"), "half");
    assert!(editor.remove("Network[0]") && !editor.remove("Network[7]"));
    assert!(editor.problems().iter().all(|problem| !problem.is_fatal()));
    assert!(!editor.is_dirty(), "as before");
    let titles: Vec<String> = editor.pages().iter().map(|page| page.title.to_string()).collect();
    assert!(titles.starts_with(&["Information".into(), "System".into(), "QEMU".into()]), "{titles:?}");
    assert!(titles.iter().any(|title| title.starts_with("Display · virtio")), "{titles:?}");
    assert_eq!(editor.add(Device::Cd).as_deref(), Some("Drive[0]"));
}

#[test]
fn a_running_machine_is_restarted_for_what_it_would_not_feel() {
    let mut editor = editor();
    editor.set("Information.Notes", "Build machine");
    assert!(editor.needs_restart().is_empty());
    editor.set("System.CPUCount", "4");
    assert_eq!(editor.needs_restart(), ["System.CPUCount"]);
    assert!(setting(&editor, "System.CPUCount").needs_restart);
    assert_eq!((editor.save(true), editor.save(false)), (Ok(Save::WithRestart), Ok(Save::Now)));
}

#[test]
fn what_another_program_has_changed_is_not_lost_unasked() {
    let mut editor = editor();
    let mut on_disk = editor.draft().clone();
    editor.set("System.CPUCount", "4");
    on_disk.information_mut().notes = Some("by somebody else".into());
    assert_eq!(editor.store(&mut on_disk, false).unwrap_err().kind(), library::ErrorKind::WrongState);
    assert_eq!(on_disk.information().notes.as_deref(), Some("by somebody else"));
    editor.store(&mut on_disk, true).unwrap();
    editor.saved();
    assert!(!editor.is_dirty() && on_disk.as_qemu().unwrap().system.cpu_count == 4);
    editor.set("System.CPUCount", "x");
    editor.revert(on_disk);
    assert_eq!((editor.text("System.CPUCount").as_str(), editor.is_dirty()), ("4", false));
}

#[test]
fn what_this_computer_cannot_is_said_and_may_be_saved() {
    let mut editor = editor();
    assert_eq!(setting(&editor, "System.MemorySize").advice.unwrap().to_string(), "14.2 GiB are free now");
    editor.set("System.MemorySize", "64 GiB");
    let advice = setting(&editor, "System.MemorySize").advice.unwrap().to_string();
    assert_eq!(advice, "64 GiB is more than this computer has (24 GiB). The machine could not start");
    assert_eq!(editor.save(false), Ok(Save::Now), "it may be for another computer");
}

#[test]
fn what_was_wrong_before_keeps_nobody_from_saving_something_else() {
    let mut configuration = qemu(&editor()).clone();
    configuration.networks[0].mac_address = "wrong".into();
    let mut editor = Editor::new(Configuration::Qemu(configuration), host());
    editor.set("System.CPUCount", "2");
    assert_eq!(editor.save(false), Ok(Save::Now));
    assert!(editor.problems_of("Network[0].MacAddress")[0].is_fatal(), "it is said all the same");
}

#[test]
fn machines_of_the_other_kind_have_pages_too() {
    let editor = Editor::new(Configuration::Apple(apple::Configuration::default()), host());
    let groups: Vec<Group> = editor.pages().iter().map(|page| page.group).collect();
    assert!(groups.contains(&Group::Boot) && groups.contains(&Group::Virtualization) && !groups.contains(&Group::Qemu));
    assert_eq!(editor.addable(), [Device::Display, Device::Network, Device::Serial]);
}

fn path() -> impl Strategy<Value = String> {
    let all = fields_of(qemu::Configuration::SCHEMA).iter().map(|field| field.path.replace("[]", "[0]")).collect::<Vec<_>>();
    prop::sample::select(all)
}

fn text() -> impl Strategy<Value = String> {
    let likely = [
        "", "true", "false", "0", "1", "4 GiB", "VirtIO", "None", "Bridged", "aarch64", "q35", "virt", "pc", "m68k", "2222", "#ffffff",
        "a,b",
    ];
    prop_oneof![3 => prop::sample::select(likely.to_vec()).prop_map(str::to_owned), 1 => "\\PC{0,12}"]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Whatever is typed where: it is shown as it was typed or as the value that it became, the draft can always be stored and read again,
    /// and what `save` allows has no problem that the library would refuse.
    #[test]
    fn nothing_that_is_typed_breaks_the_draft(typed in prop::collection::vec((path(), text(), 0u8..12), 1..25)) {
        let mut editor = editor();
        editor.add_forward(0);
        for (path, text, what) in typed {
            match what {
                0 => drop(editor.remove("Network[0]")),
                1 => drop(editor.add(Device::Network)),
                2 => editor.reset(&path),
                3 => drop(editor.reorder(Group::Drive, 0, 1)),
                _ => {
                    editor.set(&path, &text);
                    let is_typed = editor.text(&path) == text;
                    let became = editor.problems_of(&path).iter().all(|problem| !problem.is_fatal());
                    prop_assert!(is_typed || became, "{path}: {text:?} is shown as {:?}", editor.text(&path));
                }
            }
            let xml = editor.draft().to_xml();
            prop_assert!(xml.is_ok());
            let again = Configuration::read(&xml.unwrap(), "x");
            prop_assert!(again.as_ref().is_ok_and(|again| again.configuration == *editor.draft()), "{again:?}");
            prop_assert!(editor.draft().validate().iter().all(|problem| !problem.is_fatal()), "{:?}", editor.draft().validate());
            prop_assert_eq!(editor.save(false).is_ok(), editor.is_dirty() && editor.problems().iter().all(|problem| !problem.is_fatal()));
        }
        for page in editor.pages() {
            for setting in editor.settings(page.group, page.element) {
                prop_assert!(setting.control == Control::Heading || setting.changed == (editor.text(&setting.path) != draft::value(&editor.stored, &setting.path)));
            }
        }
    }
}
