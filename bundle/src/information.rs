//! What both backends say about a machine: its name and identity, and the look of its terminals.

use uuid::Uuid;

use crate::fields::Data;
use crate::schema::{choice, section};

section! {
    /// Name, icon and identity of the machine.
    Information {
        name: String = "Virtual Machine".to_owned(), "Name" required, "Name that is shown";
        icon_custom: bool = false, "IconCustom" required, "Whether `Icon` is a file in `Data/` rather than a built-in icon";
        icon: Option<String> = None, "Icon" optional, "Name of a built-in icon, or of the file in `Data/`";
        notes: Option<String> = None, "Notes" optional, "Free text";
        uuid: Uuid = Uuid::new_v4(), "UUID" required, "Identity of the machine; the guest sees it as the system UUID";
    }
}

choice! {
    /// A named look of a terminal.
    Theme {
        Default = "Default",
    }
}

section! {
    /// The look of a built-in terminal.
    Terminal {
        theme: Option<Theme> = None, "Theme" optional, "Named look, used instead of the colours";
        foreground_color: Option<String> = Some("#ffffff".to_owned()), "ForegroundColor" optional, "Text colour, `#rrggbb`";
        background_color: Option<String> = Some("#000000".to_owned()), "BackgroundColor" optional, "Background colour, `#rrggbb`";
        font: String = "Menlo".to_owned(), "Font" required, "Family of a monospaced font";
        font_size: u32 = 12, "FontSize" required, "Size of the font in points";
        resize_command: Option<String> = None, "ResizeCommand" optional, "What is typed when the window changes size, with `$COLS`, `$ROWS` and `\\n`";
        cursor_blink: bool = true, "CursorBlink" optional, "Whether the cursor blinks";
    }
}

section! {
    /// A folder of the host that an early build of UTM stored in the configuration; it belongs to the registry now.
    StoredDirectory {
        bookmark: Option<Data> = None, "Bookmark" optional, "macOS bookmark of the folder";
        read_only: bool = false, "ReadOnly" optional, "Whether the guest may not write";
    }
}

/// The text that stands for a fresh drive identifier: a random UUID in capitals, as UTM makes them.
pub fn random_identifier() -> String {
    Uuid::new_v4().hyphenated().to_string().to_uppercase()
}

/// A random unicast, locally administered MAC address, `XX:XX:XX:XX:XX:XX` in capitals.
pub fn random_mac_address() -> String {
    let random = Uuid::new_v4();
    // The first six bytes of a version 4 UUID are all random; the two low bits of the first say multicast and locally administered.
    let [first, b, c, d, e, f, ..] = random.into_bytes();
    let first = (first & 0xfc) | 0x02;
    format!("{first:02X}:{b:02X}:{c:02X}:{d:02X}:{e:02X}:{f:02X}")
}
