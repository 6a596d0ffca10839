//! Settings as the window draws them.

use std::collections::HashMap;

use bundle::{Architecture, tables};
use slint::{Color, ModelRc, SharedString};
use view_model::editor::{Control, Editor, Group, Setting, field_of};

use crate::rows::{place, texts};
use crate::words::say;
use crate::{SettingControl, SettingLine};

/// Lists to choose from, made once each, so that a list that is open stays what it is.
#[derive(Default)]
pub(super) struct Lists {
    known: HashMap<(usize, usize), ModelRc<SharedString>>,
    files: ModelRc<SharedString>,
    interfaces: ModelRc<SharedString>,
    icons: ModelRc<SharedString>,
}

impl Lists {
    /// With the files in the bundle and the interfaces of this computer.
    pub fn new(files: &[String], interfaces: &[String]) -> Self {
        Self {
            known: HashMap::new(),
            files: texts(files.iter().map(String::as_str)),
            interfaces: texts(interfaces.iter().map(String::as_str)),
            icons: texts(tables::ICONS.iter().copied()),
        }
    }

    /// What can be chosen or is suggested.
    fn options(&mut self, setting: &Setting) -> ModelRc<SharedString> {
        let known = match setting.control {
            Control::Choice(known) | Control::Suggestions(known) | Control::Several(known) => known,
            Control::File => return self.files.clone(),
            Control::Interface => return self.interfaces.clone(),
            Control::Icon => return self.icons.clone(),
            _ => return ModelRc::default(),
        };
        let architecture = setting.path == "System.Architecture";
        let words = |name: &&'static str| match name.parse::<Architecture>() {
            Ok(known) if architecture => tables::label(known),
            _ => name,
        };
        let made = self.known.entry((known.as_ptr().addr(), known.len())).or_insert_with(|| texts(known.iter().map(words)));
        made.clone()
    }

    /// The rows of a page. What only names the page is in its title already.
    pub fn lines(&mut self, settings: &[Setting], running: bool) -> Vec<SettingLine> {
        let shown =
            settings.iter().enumerate().filter(|(index, setting)| *index > 0 || setting.control != Control::Heading || is_list(setting));
        let mut lines: Vec<SettingLine> = Vec::new();
        let mut row: Option<String> = None;
        for (_, setting) in shown {
            // Elements of a list within the page have a heading each.
            let element =
                setting.path.rsplit_once('.').map(|(element, _)| element).filter(|element| element.ends_with(']') && element.contains('.'));
            if element.is_some() && element != row.as_deref() {
                row = element.map(str::to_owned);
                lines.extend(element.map(heading_of));
            }
            lines.push(self.line(setting, running));
        }
        lines
    }

    fn line(&mut self, setting: &Setting, running: bool) -> SettingLine {
        let fatal = setting.problems.iter().any(bundle::Problem::is_fatal);
        let problem = setting.problems.first().map(|problem| problem.message.clone());
        let advice = setting.advice.as_ref().map(ToString::to_string);
        let help = match (&problem, &advice) {
            (None, Some(advice)) => format!("{}. {advice}", setting.field.help),
            _ => setting.field.help.to_string(),
        };
        let (mark, mark_tone) = match (setting.changed, setting.needs_restart && running) {
            (true, true) => ("Changed, needs a restart", 2),
            (true, false) => ("Changed", 1),
            (false, _) if setting.is_default && setting.control != Control::Fixed => ("Default", 0),
            (false, _) => ("", 0),
        };
        let default = setting.default.as_deref().filter(|default| !setting.is_default && !default.is_empty() && can_set_back(setting));
        let choices = choices(setting);
        SettingLine {
            path: setting.path.as_str().into(),
            label: say(setting.field.label),
            help: help.into(),
            control: control(setting),
            text: setting.text.as_str().into(),
            on: setting.text == "true",
            options: self.options(setting),
            current: place(choices.iter().position(|choice| *choice == setting.text)),
            color: color(&setting.text),
            mark: mark.into(),
            mark_tone,
            default_text: default.unwrap_or_default().into(),
            problem: problem.unwrap_or_default().into(),
            warning: !fatal,
            action: if setting.path.ends_with(".PortForward") { "Forward a port".into() } else { SharedString::default() },
        }
    }
}

/// The heading of an element of a list within the page: `Network[0].PortForward[1]`.
fn heading_of(element: &str) -> SettingLine {
    let number = element_of(element).map_or(1, |index| index + 1);
    let port = element.contains("PortForward");
    SettingLine {
        path: element.into(),
        label: if port { format!("Port {number}") } else { format!("Number {number}") }.into(),
        control: SettingControl::Heading,
        action: "Remove".into(),
        current: -1,
        ..SettingLine::default()
    }
}

fn is_list(setting: &Setting) -> bool {
    setting.path.contains('.')
}

fn control(setting: &Setting) -> SettingControl {
    match setting.control {
        Control::Switch => SettingControl::Switch,
        Control::Number { .. } | Control::Size | Control::Text => SettingControl::Text,
        Control::LongText => SettingControl::LongText,
        Control::Choice(_) => SettingControl::Choice,
        Control::Suggestions(_) | Control::Several(_) | Control::File | Control::Icon | Control::Interface => SettingControl::Suggestions,
        Control::Words => SettingControl::Mono,
        Control::Color => SettingControl::Color,
        Control::Random => SettingControl::Random,
        Control::Fixed => SettingControl::Fixed,
        Control::Heading => SettingControl::Heading,
    }
}

/// Whether "use default" is of use: not where the default is an accident of what made the machine.
fn can_set_back(setting: &Setting) -> bool {
    !matches!(setting.control, Control::Fixed | Control::Random | Control::Heading) && setting.path != "Information.Name"
}

/// What a choice chooses from.
pub(super) fn choices(setting: &Setting) -> &'static [&'static str] {
    match setting.control {
        Control::Choice(choices) => choices,
        _ => &[],
    }
}

/// A setting's text with a suggestion taken: instead of it, or among others.
pub(super) fn with_suggestion(setting: &Setting, suggestion: &str) -> String {
    if !matches!(setting.control, Control::Several(_)) {
        return suggestion.to_owned();
    }
    let mut words: Vec<&str> = setting.text.split(',').map(str::trim).filter(|word| !word.is_empty()).collect();
    match words.iter().position(|word| *word == suggestion) {
        Some(index) => drop(words.remove(index)),
        None => words.push(suggestion),
    }
    words.join(", ")
}

/// The last index of a key path: 2 of `Network[0].PortForward[2]`.
pub(super) fn element_of(path: &str) -> Option<usize> {
    path.strip_suffix(']')?.rsplit_once('[')?.1.parse().ok()
}

/// What a page is about.
pub(super) fn help_of(editor: &Editor, group: Group, settings: &[Setting]) -> Option<String> {
    let heading = settings.first().filter(|setting| setting.control == Control::Heading && !is_list(setting));
    let field = heading.map(|setting| setting.field).or_else(|| field_of(editor.draft().schema(), group.list()?));
    field.map(|field| field.help.to_string())
}

/// Everything that is wrong, with the names of the settings.
pub(super) fn problems(editor: &Editor) -> Vec<SharedString> {
    let schema = editor.draft().schema();
    let words = editor.problems().into_iter().map(|problem| {
        let label = field_of(schema, &problem.key_path).map(|field| format!("{}: ", field.label)).unwrap_or_default();
        let hint = problem.hint.map(|hint| format!(". {hint}")).unwrap_or_default();
        SharedString::from(format!("{label}{}{hint}", problem.message))
    });
    let mut lines: Vec<SharedString> = Vec::new();
    for line in words {
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines
}

/// `#rrggbb`, or nothing that can be seen.
fn color(text: &str) -> Color {
    let hex = text.strip_prefix('#').filter(|hex| hex.len() == 6).and_then(|hex| u32::from_str_radix(hex, 16).ok());
    hex.map_or(Color::default(), |rgb| Color::from_argb_encoded(0xff00_0000 | rgb))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_read() {
        assert_eq!(color("#ff8000"), Color::from_rgb_u8(255, 128, 0));
        assert_eq!(color("red"), Color::default());
    }

    #[test]
    fn the_last_index_counts() {
        assert_eq!((element_of("Network[0].PortForward[2]"), element_of("Display[1]"), element_of("Display")), (Some(2), Some(1), None));
    }
}
