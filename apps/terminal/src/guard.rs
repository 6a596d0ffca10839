//! What a guest may do to the emulator: everything that the emulator can, but for what would let it use up memory or reach beyond its window.
//!
//! - Marks above a character (combining characters) are kept up to a few per cell; the emulator itself would keep any number.
//! - Titles are cut; links and keyboards with modes of their own do not exist here.
//! - The clipboard (OSC 52) is a person's: a guest neither writes nor reads it. [`crate::commands`] does not let it through either.
//! - Underlines have the text's colour: a colour of their own would be kept for each cell.

use alacritty_terminal::event::EventListener;
use alacritty_terminal::grid::Dimensions as _;
use alacritty_terminal::index::Column;
use alacritty_terminal::term::Term;
use alacritty_terminal::term::cell::Flags;
use alacritty_terminal::vte::ansi::{
    Attr, CharsetIndex, ClearMode, CursorShape, CursorStyle, Handler, LineClearMode, Mode, PrivateMode, Rgb, StandardCharset,
    TabulationClearMode,
};
use unicode_width::UnicodeWidthChar as _;

/// Marks of one cell.
const MOST_MARKS: usize = 4;
/// Letters of a title.
const LONGEST_TITLE: usize = 256;

/// The emulator, as a guest may use it.
pub struct Guard<'t, T> {
    pub term: &'t mut Term<T>,
}

/// Passes these on as they are.
macro_rules! pass {
    ($(fn $name:ident($($argument:ident: $type:ty),*);)*) => {
        $(fn $name(&mut self, $($argument: $type),*) {
            self.term.$name($($argument),*);
        })*
    };
}

impl<T: EventListener> Handler for Guard<'_, T> {
    fn input(&mut self, c: char) {
        if c.width() != Some(0) || self.has_room_for_mark() {
            self.term.input(c);
        }
    }

    fn set_title(&mut self, title: Option<String>) {
        self.term.set_title(title.map(|title| title.chars().filter(|c| !c.is_control()).take(LONGEST_TITLE).collect()));
    }

    fn terminal_attribute(&mut self, attribute: Attr) {
        if !matches!(attribute, Attr::UnderlineColor(_)) {
            self.term.terminal_attribute(attribute);
        }
    }

    fn set_scrolling_region(&mut self, top: usize, bottom: Option<usize>) {
        let lines = self.term.screen_lines();
        let bottom = bottom.unwrap_or(lines).min(lines);
        if (1..bottom).contains(&top) {
            self.term.set_scrolling_region(top, Some(bottom));
        }
    }

    pass! {
        fn set_cursor_style(style: Option<CursorStyle>);
        fn set_cursor_shape(shape: CursorShape);
        fn goto(line: i32, column: usize);
        fn goto_line(line: i32);
        fn goto_col(column: usize);
        fn insert_blank(count: usize);
        fn move_up(count: usize);
        fn move_down(count: usize);
        fn identify_terminal(intermediate: Option<char>);
        fn device_status(what: usize);
        fn move_forward(count: usize);
        fn move_backward(count: usize);
        fn move_down_and_cr(count: usize);
        fn move_up_and_cr(count: usize);
        fn put_tab(count: u16);
        fn backspace();
        fn carriage_return();
        fn linefeed();
        fn bell();
        fn substitute();
        fn newline();
        fn set_horizontal_tabstop();
        fn scroll_up(count: usize);
        fn scroll_down(count: usize);
        fn insert_blank_lines(count: usize);
        fn delete_lines(count: usize);
        fn erase_chars(count: usize);
        fn delete_chars(count: usize);
        fn move_backward_tabs(count: u16);
        fn move_forward_tabs(count: u16);
        fn save_cursor_position();
        fn restore_cursor_position();
        fn clear_line(mode: LineClearMode);
        fn clear_screen(mode: ClearMode);
        fn clear_tabs(mode: TabulationClearMode);
        fn set_tabs(interval: u16);
        fn reset_state();
        fn reverse_index();
        fn set_mode(mode: Mode);
        fn unset_mode(mode: Mode);
        fn report_mode(mode: Mode);
        fn set_private_mode(mode: PrivateMode);
        fn unset_private_mode(mode: PrivateMode);
        fn report_private_mode(mode: PrivateMode);
        fn set_keypad_application_mode();
        fn unset_keypad_application_mode();
        fn set_active_charset(index: CharsetIndex);
        fn configure_charset(index: CharsetIndex, charset: StandardCharset);
        fn set_color(index: usize, color: Rgb);
        fn dynamic_color_sequence(prefix: String, index: usize, terminator: &str);
        fn reset_color(index: usize);
        fn decaln();
        fn push_title();
        fn pop_title();
        fn text_area_size_chars();
    }
}

impl<T> Guard<'_, T> {
    /// Whether the cell that a mark would be put above takes one more.
    fn has_room_for_mark(&self) -> bool {
        let grid = self.term.grid();
        let cursor = &grid.cursor;
        let Some(row) = (cursor.point.line.0 >= 0 && cursor.point.column.0 < grid.columns()).then(|| &grid[cursor.point.line]) else {
            return false;
        };
        let before = |column: Column| Column(column.0.saturating_sub(1));
        let column = if cursor.input_needs_wrap { cursor.point.column } else { before(cursor.point.column) };
        let column = if row[column].flags.contains(Flags::WIDE_CHAR_SPACER) { before(column) } else { column };
        row[column].zerowidth().is_none_or(|marks| marks.len() < MOST_MARKS)
    }
}
