//! The pages of the editor, and the settings on each.

use bundle::{Configuration, Problem};

use super::sheet::Sheet;
use super::{Control, Editor, Field, Group, fields_of};
use crate::{Message, texts};

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

impl Editor {
    /// The pages, in the order of the sidebar.
    pub fn pages(&self) -> Vec<Page> {
        let (fields, sheet) = (fields_of(self.draft.schema()), Sheet::of(self));
        let groups = Group::ALL.into_iter().filter(|group| fields.iter().any(|field| field.group == *group));
        groups
            .flat_map(|group| match group.list() {
                None => vec![self.page(&sheet, group, None)],
                Some(list) => (0..sheet.draft.count(list)).map(|index| self.page(&sheet, group, Some(index))).collect(),
            })
            .collect()
    }

    /// The settings on a page, in order; those of lists on it once for each element.
    pub fn settings(&self, group: Group, element: Option<usize>) -> Vec<Setting> {
        Sheet::of(self).settings(group, element)
    }

    fn page(&self, sheet: &Sheet<'_>, group: Group, element: Option<usize>) -> Page {
        let settings = sheet.settings(group, element);
        let problems = settings.iter().flat_map(|setting| &setting.problems).filter(|problem| problem.is_fatal()).count();
        let title = element.map_or_else(|| group.text().into(), |index| self.device_title(sheet, group, index));
        Page { group, element, title, problems, changed: settings.iter().any(|setting| setting.changed) }
    }

    fn device_title(&self, sheet: &Sheet<'_>, group: Group, index: usize) -> Message {
        let list = group.list().unwrap_or_default();
        let say = |key: &str| sheet.draft.text(&self.draft, &format!("{list}[{index}].{key}"));
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
        texts::EDITOR_DEVICE.with([&group.text(), &what])
    }
}
