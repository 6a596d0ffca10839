//! What the bindings rely on is what every installed QEMU offers.
//!
//! `QMP_CONTRACT_NEW=1 cargo test -p qmp --test contract -- --nocapture` also prints what the QEMUs have beyond.

mod peer;

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::PathBuf,
};

use peer::Qemu;
use qmp::{
    commands::QueryQmpSchema,
    schema::{Schema, Type},
};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Definitions {
    optional_commands: BTreeSet<String>,
    optional_events: BTreeSet<String>,
    definitions: Schema,
}

fn definitions() -> Definitions {
    serde_json::from_str(include_str!("../src/generated/definitions.json")).unwrap()
}

/// Every emulator on the search path, once, by whatever names it goes.
fn installed() -> BTreeSet<PathBuf> {
    env::split_paths(&env::var_os("PATH").unwrap_or_default())
        .filter_map(|directory| fs::read_dir(directory).ok())
        .flatten()
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("qemu-system-"))
        .filter_map(|entry| entry.path().canonicalize().ok())
        .collect()
}

#[tokio::test]
async fn every_installed_qemu_offers_what_the_bindings_rely_on() {
    let ours = definitions();
    let programs = installed();
    if programs.is_empty() {
        println!("skipped: no qemu-system-* is installed");
        return;
    }
    let optional = |what: &String| {
        let optional = |kind, names: &BTreeSet<String>| what.strip_prefix(kind).is_some_and(|name| names.contains(name));
        optional("command ", &ours.optional_commands) || optional("event ", &ours.optional_events)
    };
    let mut wrong = BTreeMap::new();
    let mut beyond: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for program in &programs {
        let program = program.to_str().unwrap();
        let (_qemu, client) = Qemu::start(program, &["-machine", "none"]).await;
        let theirs = client.execute(QueryQmpSchema::default()).await.unwrap();
        let differences = ours.definitions.compare(&theirs);
        let missing = differences.missing.into_iter().filter(|what| !optional(what));
        let here: Vec<_> = missing.chain(differences.broken).collect();
        if !here.is_empty() {
            wrong.insert(program.to_owned(), here);
        }
        let fewer = differences.fewer_choices.into_iter().map(|what| format!("lacks {what}"));
        for what in differences.new.into_iter().map(|what| format!("has {what}")).chain(fewer) {
            beyond.entry(what).or_default().push(program.to_owned());
        }
    }
    if env::var_os("QMP_CONTRACT_NEW").is_some() {
        for (what, by) in beyond {
            println!("{what} ({} of {})", by.len(), programs.len());
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// A reply with one change, as another version might make it.
fn changed(from: &str, to: &str) -> Schema {
    let text = include_str!("../src/generated/definitions.json").replace(from, to);
    serde_json::from_str::<Definitions>(&text).unwrap().definitions
}

#[test]
fn a_comparison_finds_what_would_break() {
    let ours = definitions().definitions;
    assert_eq!(ours.compare(&ours), Default::default());

    let gone = changed("\"query-status\"", "\"query-state\"");
    let differences = ours.compare(&gone);
    assert_eq!(differences.missing, ["command query-status"]);
    assert_eq!(differences.new, ["command query-state"]);

    let absent = changed("{\"name\":\"running\",\"type\":\"bool\"}", "{\"name\":\"runs\",\"type\":\"bool\"}");
    let differences = ours.compare(&absent);
    assert_eq!(differences.broken, ["query-status:return.running: not there"]);
    assert_eq!(differences.new, ["query-status:return.runs"]);

    let other = changed("{\"name\":\"running\",\"type\":\"bool\"}", "{\"name\":\"running\",\"type\":\"str\"}");
    assert_eq!(ours.compare(&other).broken.len(), 1);

    let required = changed("{\"name\":\"bus\",\"type\":\"str\",\"default\":null}", "{\"name\":\"bus\",\"type\":\"str\"}");
    assert_eq!(ours.compare(&required).broken, ["device_add.bus: required"]);

    let word = changed("{\"name\":\"guest-panicked\"}", "{\"name\":\"guest-bored\"}");
    let differences = ours.compare(&word);
    assert_eq!(differences.broken, Vec::<String>::new());
    assert_eq!(differences.fewer_choices, ["query-status:return.status: guest-panicked"]);
    assert_eq!(differences.new, ["query-status:return.status: guest-bored"]);
}

#[test]
fn features_are_looked_up() {
    let schema = definitions().definitions;
    assert!(schema.has_command("query-status") && !schema.has_command("query-mood"));
    assert!(schema.has_event("SHUTDOWN") && !schema.has_event("query-status"));
    assert!(schema.has_argument("input-send-event", "events.data.key.data"));
    assert!(!schema.has_argument("input-send-event", "events.data.mood"));
    assert!(schema.choices("set-action", "panic").contains("exit-failure"));
    assert!(schema.choices("set-action", "mood").is_empty());
    assert_eq!(schema.type_of("str"), Some(&Type::Builtin));
}

#[test]
fn a_schema_may_be_of_any_form() {
    for text in [
        r#"[]"#,
        r#"[{}]"#,
        r#"[{"meta-type": "new", "name": "x"}]"#,
        r#"[{"meta-type": "array", "name": "a", "element-type": "a"}, {"meta-type": "command", "name": "c", "arg-type": "a", "ret-type": "a"}]"#,
        r#"[{"meta-type": "alternate", "name": "a", "members": [{"type": "a"}]}, {"meta-type": "command", "name": "c", "arg-type": "a", "ret-type": "b"}]"#,
    ] {
        let schema: Schema = serde_json::from_str(text).unwrap();
        schema.compare(&schema);
        schema.has_argument("c", "a.b.c");
        schema.choices("c", "a");
    }
}
