//! What is drawn: rows of runs, each of one look.

use alacritty_terminal::event::EventListener;
use alacritty_terminal::grid::Dimensions as _;
use alacritty_terminal::index::{Column, Line, Point};
use alacritty_terminal::selection::SelectionRange;
use alacritty_terminal::term::cell::{Cell, Flags};
use alacritty_terminal::term::{Term, TermMode};
use alacritty_terminal::vte::ansi::CursorShape;

use crate::{Palette, Rgb};

/// How letters look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Look {
    /// The letters' colour.
    pub ink: Rgb,
    /// The colour behind them.
    pub ground: Rgb,
    /// Heavier.
    pub bold: bool,
    /// Slanted.
    pub italic: bool,
    /// A line below.
    pub underline: Underline,
    /// A line through.
    pub struck: bool,
}

/// A line below letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Underline {
    /// None.
    #[default]
    None,
    /// One.
    Single,
    /// Two.
    Double,
    /// Dots, dashes or waves.
    Broken,
}

/// Cells beside each other that look the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The first cell.
    pub column: usize,
    /// How many cells.
    pub cells: usize,
    /// The letters, each followed by its marks. Those of a wide run have two cells each.
    pub text: String,
    /// Whether its letters have two cells each.
    pub wide: bool,
    /// How they look.
    pub look: Look,
}

/// The cursor's shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Shape {
    /// All of the cell; what is in it has already the colours for that.
    Block,
    /// The cell's outline: the window does not have the keyboard.
    Outline,
    /// A line at its left.
    Beam,
    /// A line at its foot.
    Underline,
}

/// The cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cursor {
    /// Its cell.
    pub column: usize,
    /// Whether it is over a letter of two cells.
    pub wide: bool,
    /// Its shape.
    pub shape: Shape,
    /// Its colour.
    pub colour: Rgb,
}

/// A row.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Row {
    /// All of its cells.
    pub runs: Vec<Run>,
    /// The cursor, where it is in this row.
    pub cursor: Option<Cursor>,
}

impl Row {
    /// What it says, without the blanks at its end.
    pub fn text(&self) -> String {
        let mut text: String = self.runs.iter().map(|run| run.text.as_str()).collect();
        text.truncate(text.trim_end().len());
        text
    }
}

/// Everything that is to be seen.
pub fn rows<T: EventListener>(term: &Term<T>, palette: &Palette, has_keys: bool) -> Vec<Row> {
    let selected = term.selection.as_ref().and_then(|selection| selection.to_range(term));
    let offset = i32::try_from(term.grid().display_offset()).unwrap_or(i32::MAX);
    let lines = i32::try_from(term.screen_lines()).unwrap_or(0);
    let cursor = cursor(term, palette, has_keys);
    let row = |line: i32| {
        let line = Line(line - offset);
        let cursor = cursor.filter(|(at, _)| at.line == line).map(|(_, cursor)| cursor);
        row(term, palette, line, selected, cursor)
    };
    (0..lines).map(row).collect()
}

fn cursor<T: EventListener>(term: &Term<T>, palette: &Palette, has_keys: bool) -> Option<(Point, Cursor)> {
    if !term.mode().contains(TermMode::SHOW_CURSOR) {
        return None;
    }
    let mut at = term.grid().cursor.point;
    let flags = term.grid()[at].flags;
    if flags.contains(Flags::WIDE_CHAR_SPACER) && at.column.0 > 0 {
        at.column -= 1;
    }
    let shape = match term.cursor_style().shape {
        CursorShape::Hidden => return None,
        _ if !has_keys => Shape::Outline,
        CursorShape::Block => Shape::Block,
        CursorShape::HollowBlock => Shape::Outline,
        CursorShape::Beam => Shape::Beam,
        CursorShape::Underline => Shape::Underline,
    };
    let colour = palette.numbered(alacritty_terminal::vte::ansi::NamedColor::Cursor as usize, term.colors());
    let wide = is_wide(term, at);
    Some((at, Cursor { column: at.column.0, wide, shape, colour }))
}

/// Whether a letter has two cells: a window that was narrower may have cut its second off, and another one is there now.
fn is_wide<T>(term: &Term<T>, at: Point) -> bool {
    let next = at.column + 1;
    let grid = term.grid();
    grid[at].flags.contains(Flags::WIDE_CHAR) && next <= term.last_column() && grid[at.line][next].flags.contains(Flags::WIDE_CHAR_SPACER)
}

fn row<T: EventListener>(term: &Term<T>, palette: &Palette, line: Line, selected: Option<SelectionRange>, cursor: Option<Cursor>) -> Row {
    let mut runs: Vec<Run> = Vec::new();
    let cells = &term.grid()[line];
    for column in 0..term.columns() {
        let cell = &cells[Column(column)];
        // The second half of a letter is drawn with the first.
        let is_second =
            cell.flags.contains(Flags::WIDE_CHAR_SPACER) && runs.last().is_some_and(|run| run.wide && run.column + run.cells == column + 1);
        if is_second {
            continue;
        }
        let wide = is_wide(term, Point::new(line, Column(column)));
        let mut look = look(term, palette, cell);
        let is_selected = selected.is_some_and(|range| {
            let at = Point::new(line, Column(column));
            range.contains(at) || wide && range.contains(Point::new(line, Column(column + 1)))
        });
        if is_selected {
            look.ground = palette.selection;
            look.ink = readable(look.ink, palette);
        }
        if let Some(cursor) = cursor.filter(|cursor| cursor.column == column && cursor.shape == Shape::Block) {
            (look.ink, look.ground) = (palette.ground, cursor.colour);
        }
        let c = if cell.flags.contains(Flags::HIDDEN) || cell.c.is_control() { ' ' } else { cell.c };
        let follows = runs.last().is_some_and(|run| run.look == look && run.wide == wide);
        if !follows {
            runs.push(Run { column, cells: 0, text: String::new(), wide, look });
        }
        if let Some(run) = runs.last_mut() {
            run.cells += if wide { 2 } else { 1 };
            run.text.push(c);
            run.text.extend(cell.zerowidth().into_iter().flatten());
        }
    }
    Row { runs, cursor }
}

/// Ink that can be told from what is behind a selection.
fn readable(ink: Rgb, palette: &Palette) -> Rgb {
    let light = |rgb: Rgb| (i32::from(rgb.r) * 3 + i32::from(rgb.g) * 6 + i32::from(rgb.b)) / 10;
    if (light(ink) - light(palette.selection)).abs() < 64 { palette.ink } else { ink }
}

fn look<T>(term: &Term<T>, palette: &Palette, cell: &Cell) -> Look {
    let mut ink = palette.colour(cell.fg, term.colors());
    let mut ground = palette.colour(cell.bg, term.colors());
    if cell.flags.contains(Flags::DIM) {
        ink = palette.dim(ink);
    }
    if cell.flags.contains(Flags::INVERSE) {
        std::mem::swap(&mut ink, &mut ground);
    }
    let underline = if cell.flags.contains(Flags::DOUBLE_UNDERLINE) {
        Underline::Double
    } else if cell.flags.contains(Flags::UNDERLINE) {
        Underline::Single
    } else if cell.flags.intersects(Flags::ALL_UNDERLINES) {
        Underline::Broken
    } else {
        Underline::None
    };
    Look {
        ink,
        ground,
        bold: cell.flags.contains(Flags::BOLD),
        italic: cell.flags.contains(Flags::ITALIC),
        underline,
        struck: cell.flags.contains(Flags::STRIKEOUT),
    }
}
