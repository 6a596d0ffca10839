//! What is said to people: the texts of `view_model` in the language of the windows, and commands by their number.

use slint::SharedString;
use view_model::{Command, Message};

/// A text or a message, in words.
pub fn say(message: impl Into<Message>) -> SharedString {
    message.into().to_string().into()
}

/// What windows call a command by.
pub fn number(command: Command) -> i32 {
    let place = Command::ALL.iter().position(|other| *other == command);
    place.and_then(|place| i32::try_from(place).ok()).unwrap_or(-1)
}

/// The command that a window has named.
pub fn command(number: i32) -> Option<Command> {
    Command::ALL.get(usize::try_from(number).ok()?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_have_numbers() {
        for each in Command::ALL {
            assert_eq!(command(number(*each)), Some(*each));
        }
        assert_eq!((command(-1), command(10_000)), (None, None));
    }
}
