//! The pages of the editor, and the settings on each.

use bundle::key_path;
use bundle::{Configuration, Problem};

use super::draft::{count, value};
use super::field::{control, describe, fields_of};
use super::{Applies, Control, Editor, Field, Group};
use crate::{Message, Text};

/// A page: an entry of the sidebar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// What it is about.
    pub group: Group,
    /// Which element of the group's list, where it has one.
    pub element: Option<usize>,
    /// What the sidebar says.
    pub title: Message,
    /// How many problems there are on it that keep it from being saved.
    pub problems: usize,
    /// Whether something on it was changed.
    pub changed: bool,
}

/// A setting on a page.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// Its key path.
    pub path: String,
    /// What it is called, and what it is for.
    pub field: &'static Field,
    /// What it is changed with.
    pub control: Control,
    /// What the control shows.
    pub text: String,
    /// What it is in a new machine, where that is no accident.
    pub default: Option<String>,
    /// Whether it is that.
    pub is_default: bool,
    /// Whether it differs from what is stored.
    pub changed: bool,
    /// What is wrong with it.
    pub problems: Vec<Problem>,
    /// What a person should know about the value on this computer. Keeps nobody from saving it: the machine may be for another one.
    pub advice: Option<Message>,
    /// Whether the running machine goes on as before until it starts again.
    pub needs_restart: bool,
}

/// An entry of the sidebar for a device: `Network · virtio-net-pci`.
const DEVICE: Text = Text { id: "setting.device", english: "{} · {}" };

impl Editor {
    /// The pages, in the order of the sidebar.
    pub fn pages(&self) -> Vec<Page> {
        let fields = fields_of(self.draft.schema());
        let groups = Group::ALL.into_iter().filter(|group| fields.iter().any(|field| field.group == *group));
        groups
            .flat_map(|group| match group.list() {
                None => vec![self.page(group, None)],
                Some(list) => (0..self.count(list)).map(|index| self.page(group, Some(index))).collect(),
            })
            .collect()
    }

    fn page(&self, group: Group, element: Option<usize>) -> Page {
        let settings = self.settings(group, element);
        let problems = settings.iter().flat_map(|setting| &setting.problems).filter(|problem| problem.is_fatal()).count();
        let title = element.map_or_else(|| group.text().into(), |index| self.device_title(group, index));
        Page { group, element, title, problems, changed: settings.iter().any(|setting| setting.changed) }
    }

    fn device_title(&self, group: Group, index: usize) -> Message {
        let list = group.list().unwrap_or_default();
        let say = |key: &str| value(&self.draft, &format!("{list}[{index}].{key}"));
        let what = match (group, &self.draft) {
            (Group::Drive, Configuration::Qemu(_)) => {
                let (kind, interface) = (say("ImageType"), say("Interface"));
                if interface == "None" { kind } else { format!("{kind}, {interface}") }
            }
            (Group::Drive, Configuration::Apple(_)) => if say("Nvme") == "true" { "NVMe" } else { "VirtIO" }.to_owned(),
            (Group::Display, Configuration::Apple(_)) => format!("{} × {}", say("WidthPixels"), say("HeightPixels")),
            (Group::Network | Group::Serial, _) => say("Mode"),
            _ => say("Hardware"),
        };
        DEVICE.with([&group.text(), &what])
    }

    /// The settings on a page, in order; those of lists on it once for each element.
    pub fn settings(&self, group: Group, element: Option<usize>) -> Vec<Setting> {
        let list = group.list();
        let fields = fields_of(self.draft.schema()).iter().filter(|field| field.group == group);
        let mut settings = Vec::new();
        // Lists within the page, such as forwarded ports, are put together element by element.
        let mut inner: Vec<(&str, Vec<&'static Field>)> = Vec::new();
        for field in fields {
            let path = match (list, element) {
                (Some(list), Some(index)) => match field.path.strip_prefix(list).and_then(|rest| rest.strip_prefix("[]")) {
                    Some(rest) => format!("{list}[{index}]{rest}"),
                    None => continue,
                },
                _ => field.path.to_owned(),
            };
            match path.split_once("[]") {
                Some(_) => {
                    let pattern = field.path.rsplit_once("[]").map_or(field.path, |(pattern, _)| pattern);
                    match inner.iter_mut().find(|(other, _)| *other == pattern) {
                        Some((_, fields)) => fields.push(field),
                        None => inner.push((pattern, vec![field])),
                    }
                }
                None => settings.push(self.setting(path, field)),
            }
        }
        for (pattern, fields) in inner {
            let path = match (list, element) {
                (Some(list), Some(index)) => pattern.replacen(&format!("{list}[]"), &format!("{list}[{index}]"), 1),
                _ => pattern.to_owned(),
            };
            let at = settings.iter().position(|setting| setting.path == path).map_or(settings.len(), |index| index + 1);
            let rows = (0..self.count(&path)).flat_map(|row| {
                let path = &path;
                let fields = &fields;
                fields.iter().map(move |field| {
                    let key = field.path.rsplit_once("[]").map_or("", |(_, key)| key);
                    self.setting(format!("{path}[{row}]{key}"), field)
                })
            });
            let rows: Vec<Setting> = rows.collect();
            settings.splice(at..at, rows);
        }
        settings
    }

    fn setting(&self, path: String, field: &'static Field) -> Setting {
        let control = control(&self.draft, &path, field.look);
        let text = if control == Control::Heading { String::new() } else { self.text(&path) };
        let default = describe(&self.draft, &path).and_then(|described| described.key.default.clone());
        // A heading has changed where there are more or fewer below it; what is in them has settings of its own.
        let changed = match control {
            Control::Heading => count(&self.stored, &path) != count(&self.draft, &path),
            _ => value(&self.stored, &path) != text,
        };
        Setting {
            field,
            is_default: default
                .as_ref()
                .is_some_and(|default| key_path::get(&self.draft, &path).is_ok_and(|value| key_path::format_value(&value) == *default)),
            default,
            changed,
            problems: self.problems_of(&path),
            advice: self.advice(&path),
            needs_restart: changed && field.applies == Applies::NextStart,
            control,
            text,
            path,
        }
    }
}
