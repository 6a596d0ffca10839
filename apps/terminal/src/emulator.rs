//! The terminal: what a guest says becomes rows, what a person types and pastes becomes bytes.

use std::sync::{Arc, Mutex, PoisonError};

use alacritty_terminal::event::{Event, EventListener, WindowSize};
use alacritty_terminal::grid::{Dimensions, Scroll};
use alacritty_terminal::index::{Column, Line, Point, Side};
use alacritty_terminal::selection::{Selection, SelectionType};
use alacritty_terminal::term::{Config, Osc52, Term, TermMode};
use alacritty_terminal::vte::ansi::{Handler as _, Processor, Rgb as Told, Timeout};
use std::time::Duration;

use crate::commands::Filter;
use crate::guard::Guard;
use crate::keys::{self, Held, Key};
use crate::{Palette, Row, mouse, row, selected};

/// Rows that are kept of what has scrolled away.
pub const HISTORY: usize = 5000;
/// The least and the most columns.
const COLUMNS: (usize, usize) = (4, 1000);
/// The least and the most rows.
const ROWS: (usize, usize) = (1, 500);
/// Bytes of answers that wait to be taken. A guest that asks for more than it hears is not answered.
const MOST_ANSWERS: usize = 4096;
/// Bytes that are looked at in one go.
const PIECE: usize = 4096;

/// How many columns and rows there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Size {
    /// Cells of a row.
    pub columns: usize,
    /// Rows.
    pub rows: usize,
}

impl Size {
    /// What is nearest of the sizes that a terminal can have.
    pub fn new(columns: usize, rows: usize) -> Self {
        Self { columns: columns.clamp(COLUMNS.0, COLUMNS.1), rows: rows.clamp(ROWS.0, ROWS.1) }
    }
}

impl Dimensions for Size {
    fn total_lines(&self) -> usize {
        self.rows
    }
    fn screen_lines(&self) -> usize {
        self.rows
    }
    fn columns(&self) -> usize {
        self.columns
    }
}

/// A point of what is to be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct At {
    /// The row, from the top.
    pub row: usize,
    /// The cell.
    pub column: usize,
    /// Whether it is in the right half of the cell.
    pub right: bool,
}

/// What a selection grows by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grain {
    /// Letters.
    Letter,
    /// Words.
    Word,
    /// Lines.
    Line,
    /// Letters of a rectangle.
    Block,
}

/// What the wheel did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turned {
    /// It moved what is to be seen.
    Scrolled,
    /// It is for the guest.
    Send(Vec<u8>),
}

/// What is to be seen, of all that there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Rows above what is to be seen.
    pub above: usize,
    /// Rows that are to be seen.
    pub seen: usize,
    /// Rows below.
    pub below: usize,
}

/// What the emulator tells while it reads.
#[derive(Debug, Default, Clone)]
struct Heard(Arc<Mutex<Vec<Event>>>);

impl EventListener for Heard {
    fn send_event(&self, event: Event) {
        let matters = matches!(
            event,
            Event::Title(_) | Event::ResetTitle | Event::PtyWrite(_) | Event::ColorRequest(..) | Event::TextAreaSizeRequest(_)
        );
        if matters {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(event);
        }
    }
}

/// Updates that a guest would have shown as one are shown as they come: nothing waits, and nothing is kept back.
#[derive(Debug, Default)]
struct AtOnce;

impl Timeout for AtOnce {
    fn set_timeout(&mut self, _: Duration) {}
    fn clear_timeout(&mut self) {}
    fn pending_timeout(&self) -> bool {
        false
    }
}

/// A terminal.
pub struct Terminal {
    term: Term<Heard>,
    heard: Heard,
    parser: Processor<AtOnce>,
    filter: Filter,
    answers: Vec<u8>,
    title: Option<String>,
    palette: Palette,
    /// What is left of the wheel's turns.
    turned: f64,
}

impl Terminal {
    /// An empty one.
    pub fn new(size: Size) -> Self {
        let heard = Heard::default();
        let config = Config { scrolling_history: HISTORY, osc52: Osc52::Disabled, kitty_keyboard: false, ..Config::default() };
        let term = Term::new(config, &size, heard.clone());
        Self {
            term,
            heard,
            parser: Processor::new(),
            filter: Filter::default(),
            answers: Vec::new(),
            title: None,
            palette: Palette::default(),
            turned: 0.0,
        }
    }

    /// Forgets everything, but for its size and colours.
    pub fn renew(&mut self) {
        let size = self.size();
        let palette = self.palette.clone();
        *self = Self { palette, ..Self::new(size) };
    }

    /// Takes what the guest says.
    pub fn hear(&mut self, bytes: &[u8]) {
        let mut passed = Vec::with_capacity(PIECE + 64);
        for piece in bytes.chunks(PIECE) {
            passed.clear();
            self.filter.pass(piece, &mut passed);
            self.parser.advance(&mut Guard { term: &mut self.term }, &passed);
            self.attend();
        }
    }

    /// Does what the emulator asks for.
    fn attend(&mut self) {
        let events = std::mem::take(&mut *self.heard.0.lock().unwrap_or_else(PoisonError::into_inner));
        for event in events {
            match event {
                Event::Title(title) => self.title = Some(title).filter(|title| !title.trim().is_empty()),
                Event::ResetTitle => self.title = None,
                Event::PtyWrite(answer) => self.answer(&answer),
                Event::ColorRequest(number, answer) => {
                    let colour = self.palette.numbered(number, self.term.colors());
                    self.answer(&answer(Told { r: colour.r, g: colour.g, b: colour.b }));
                }
                Event::TextAreaSizeRequest(answer) => {
                    let cells = |count: usize| u16::try_from(count).unwrap_or(u16::MAX);
                    let Size { columns, rows } = self.size();
                    self.answer(&answer(WindowSize { num_lines: cells(rows), num_cols: cells(columns), cell_width: 0, cell_height: 0 }));
                }
                _ => {}
            }
        }
    }

    fn answer(&mut self, answer: &str) {
        if self.answers.len() + answer.len() <= MOST_ANSWERS {
            self.answers.extend_from_slice(answer.as_bytes());
        }
    }

    /// What it answers to the guest's questions: what terminal it is, where the cursor is, its colours and size.
    pub fn take_answers(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.answers)
    }

    /// What the guest calls the window.
    pub fn title(&self) -> Option<&str> {
        self.title.as_deref()
    }

    /// How large it is.
    pub fn size(&self) -> Size {
        Size { columns: self.term.columns(), rows: self.term.screen_lines() }
    }

    /// Makes it as large; lines that were wrapped are wrapped anew.
    pub fn resize(&mut self, size: Size) {
        self.term.resize(size);
    }

    /// What named colours look like.
    pub fn set_palette(&mut self, palette: Palette) {
        self.palette = palette;
    }

    /// What is to be seen. `has_keys` says whether what is typed comes here.
    pub fn rows(&self, has_keys: bool) -> Vec<Row> {
        row::rows(&self.term, &self.palette, has_keys)
    }

    /// What is to be seen, of all that there is.
    pub fn extent(&self) -> Extent {
        let below = self.term.grid().display_offset();
        Extent { above: self.term.history_size().saturating_sub(below), seen: self.term.screen_lines(), below }
    }

    /// Goes back by so many rows, or forth.
    pub fn scroll(&mut self, rows: i32) {
        self.term.scroll_display(Scroll::Delta(rows.clamp(-100_000, 100_000)));
    }

    /// Goes where so many rows are above.
    pub fn scroll_to(&mut self, above: usize) {
        let now = i64::try_from(self.extent().above).unwrap_or(0);
        let rows = now - i64::try_from(above).unwrap_or(i64::MAX);
        self.scroll(i32::try_from(rows).unwrap_or(i32::MAX));
    }

    /// Goes to the end, where the guest writes.
    pub fn scroll_to_end(&mut self) {
        self.term.scroll_display(Scroll::Bottom);
    }

    /// The wheel was turned by so many rows over a point. `shift` takes it from the guest.
    pub fn turn(&mut self, rows: f64, at: At, held: Held) -> Turned {
        if !rows.is_finite() {
            return Turned::Scrolled;
        }
        self.turned = (self.turned + rows).clamp(-1000.0, 1000.0);
        let whole = self.turned.trunc();
        self.turned -= whole;
        let whole = whole as i32;
        let mode = *self.term.mode();
        if mode.intersects(TermMode::MOUSE_MODE) && !held.shift {
            let one = mouse::wheel(mode, whole > 0, at, held);
            return Turned::Send(one.repeat(whole.unsigned_abs() as usize));
        }
        if mode.contains(TermMode::ALT_SCREEN | TermMode::ALTERNATE_SCROLL) && !held.shift {
            let one = keys::bytes(if whole > 0 { Key::Up } else { Key::Down }, Held::default(), mode);
            return Turned::Send(one.repeat(whole.unsigned_abs() as usize));
        }
        self.scroll(whole);
        Turned::Scrolled
    }

    /// A button went down or up, or the pointer moved with it down. Bytes where that is the guest's business, which Shift takes from it.
    pub fn point(&self, what: mouse::Pointed, at: At, held: Held) -> Option<Vec<u8>> {
        let mode = *self.term.mode();
        (mode.intersects(TermMode::MOUSE_MODE) && !held.shift).then(|| mouse::button(mode, what, at, held))
    }

    /// The bytes of a key.
    pub fn key(&self, key: Key, held: Held) -> Vec<u8> {
        keys::bytes(key, held, *self.term.mode())
    }

    /// The bytes of what is pasted.
    pub fn paste(&self, text: &str) -> Vec<u8> {
        keys::pasted(text, *self.term.mode())
    }

    /// Begins to select.
    pub fn select(&mut self, grain: Grain, at: At) {
        let kind = match grain {
            Grain::Letter => SelectionType::Simple,
            Grain::Word => SelectionType::Semantic,
            Grain::Line => SelectionType::Lines,
            Grain::Block => SelectionType::Block,
        };
        let (point, side) = self.place(at);
        self.term.selection = Some(Selection::new(kind, point, side));
    }

    /// Selects up to there.
    pub fn select_to(&mut self, at: At) {
        let (point, side) = self.place(at);
        if let Some(selection) = &mut self.term.selection {
            selection.update(point, side);
        }
    }

    /// Selects everything that there is.
    pub fn select_all(&mut self) {
        let top = Point::new(self.term.topmost_line(), Column(0));
        let bottom = Point::new(self.term.bottommost_line(), self.term.last_column());
        let mut selection = Selection::new(SelectionType::Simple, top, Side::Left);
        selection.update(bottom, Side::Right);
        self.term.selection = Some(selection);
    }

    /// Selects nothing any more.
    pub fn select_none(&mut self) {
        self.term.selection = None;
    }

    /// What is selected.
    pub fn selected(&self) -> Option<String> {
        selected::text(&self.term).filter(|text| !text.is_empty())
    }

    /// Whether something is selected.
    pub fn has_selection(&self) -> bool {
        self.term.selection.as_ref().is_some_and(|selection| !selection.is_empty())
    }

    /// Empties what is to be seen and what has scrolled away, but for the line that is being typed.
    pub fn clear(&mut self) {
        use alacritty_terminal::vte::ansi::ClearMode;
        self.term.selection = None;
        self.term.scroll_display(Scroll::Bottom);
        if !self.term.mode().contains(TermMode::ALT_SCREEN) {
            // The cursor's line goes to the top.
            let lines = usize::try_from(self.term.grid().cursor.point.line.0).unwrap_or(0);
            let column = self.term.grid().cursor.point.column.0;
            let origin = self.term.mode().contains(TermMode::ORIGIN);
            if !origin && lines > 0 {
                self.term.goto(0, 0);
                self.term.delete_lines(lines);
                self.term.goto(0, column);
            }
        }
        self.term.clear_screen(ClearMode::Saved);
    }

    fn place(&self, at: At) -> (Point, Side) {
        let Size { columns, rows } = self.size();
        let row = i32::try_from(at.row.min(rows - 1)).unwrap_or(0);
        let offset = i32::try_from(self.term.grid().display_offset()).unwrap_or(0);
        let side = if at.right { Side::Right } else { Side::Left };
        (Point::new(Line(row - offset), Column(at.column.min(columns - 1))), side)
    }
}

#[cfg(test)]
#[path = "emulator_tests.rs"]
mod tests;
