//! Everything that the pages show, looked at once: a page is drawn with every letter that is typed.

use bundle::{Configuration, Problem};
use plist::Value;

use super::field::{control, describe, shown};
use super::{Applies, Control, Editor, Field, Group, Setting, fields_of};

/// The values of a configuration by key path.
pub(super) struct Values(Value);

impl Values {
    /// Of a configuration.
    pub fn of(configuration: &Configuration) -> Self {
        Self(Value::Dictionary(configuration.to_dictionary()))
    }

    /// The value at a path that has numbers for elements.
    fn get(&self, path: &str) -> Option<&Value> {
        path.split(['.', '[']).try_fold(&self.0, |value, step| match step.strip_suffix(']') {
            Some(index) => value.as_array()?.get(index.parse::<usize>().ok()?),
            None => value.as_dictionary()?.get(step),
        })
    }

    /// The value as its control shows it; empty where there is none.
    pub fn text(&self, configuration: &Configuration, path: &str) -> String {
        match (self.get(path), describe(configuration, path)) {
            (Some(value), Some(described)) => shown(described.kind, value),
            (Some(value), None) => bundle::key_path::format_value(value),
            (None, _) => String::new(),
        }
    }

    /// How many elements a list has.
    pub fn count(&self, list: &str) -> usize {
        self.get(list).and_then(Value::as_array).map_or(0, Vec::len)
    }
}

/// Draft and stored configuration, and what is wrong.
pub(super) struct Sheet<'a> {
    editor: &'a Editor,
    pub draft: Values,
    stored: Values,
    problems: Vec<Problem>,
}

impl<'a> Sheet<'a> {
    /// Looks.
    pub fn of(editor: &'a Editor) -> Self {
        let (draft, stored) = (Values::of(&editor.draft), Values::of(&editor.stored));
        Self { editor, draft, stored, problems: editor.noticed() }
    }

    /// The settings on a page, in order; those of lists on it once for each element.
    pub fn settings(&self, group: Group, element: Option<usize>) -> Vec<Setting> {
        let list = group.list();
        let fields = fields_of(self.editor.draft.schema()).iter().filter(|field| field.group == group);
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
            if !path.contains("[]") {
                settings.push(self.setting(path, field));
                continue;
            }
            let pattern = field.path.rsplit_once("[]").map_or(field.path, |(pattern, _)| pattern);
            match inner.iter_mut().find(|(other, _)| *other == pattern) {
                Some((_, fields)) => fields.push(field),
                None => inner.push((pattern, vec![field])),
            }
        }
        for (pattern, fields) in inner {
            let path = match (list, element) {
                (Some(list), Some(index)) => pattern.replacen(&format!("{list}[]"), &format!("{list}[{index}]"), 1),
                _ => pattern.to_owned(),
            };
            let at = settings.iter().position(|setting| setting.path == path).map_or(settings.len(), |index| index + 1);
            let key = |field: &'static Field| field.path.rsplit_once("[]").map_or("", |(_, key)| key);
            let rows = (0..self.draft.count(&path)).flat_map(|row| fields.iter().map(move |field| (row, *field)));
            let rows: Vec<Setting> = rows.map(|(row, field)| self.setting(format!("{path}[{row}]{}", key(field)), field)).collect();
            settings.splice(at..at, rows);
        }
        settings
    }

    fn setting(&self, path: String, field: &'static Field) -> Setting {
        let configuration = &self.editor.draft;
        let control = control(configuration, &path, field);
        let typed = self.editor.typed(&path);
        let text = match (control, typed) {
            (Control::Heading, _) => String::new(),
            (_, Some((text, _))) => text.to_owned(),
            (_, None) => self.draft.text(configuration, &path),
        };
        let problems = match typed {
            Some((_, problems)) => problems.to_vec(),
            None => self.problems.iter().filter(|problem| problem.key_path == path).cloned().collect(),
        };
        let default = describe(configuration, &path).and_then(|described| described.key.default.clone());
        let is = |default: &String| self.draft.get(&path).is_some_and(|value| bundle::key_path::format_value(value) == *default);
        // A heading has changed where there are more or fewer below it; what is in them has settings of its own.
        let changed = match control {
            Control::Heading => self.stored.count(&path) != self.draft.count(&path),
            _ => self.stored.text(&self.editor.stored, &path) != text,
        };
        Setting {
            field,
            is_default: default.as_ref().is_some_and(is),
            default,
            changed,
            problems,
            advice: self.editor.advice(&path),
            needs_restart: changed && field.applies == Applies::NextStart,
            control,
            text,
            path,
        }
    }
}
