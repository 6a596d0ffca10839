//! What is selected, as text.
//!
//! The emulator has such a function, too; it looks beyond the first line of what there is where a letter of two cells did not fit.

use alacritty_terminal::grid::Dimensions as _;
use alacritty_terminal::index::{Column, Line};
use alacritty_terminal::selection::SelectionType;
use alacritty_terminal::term::Term;
use alacritty_terminal::term::cell::Flags;

/// What is selected, without the blanks at the end of lines. A line that was wrapped is one.
pub fn text<T>(term: &Term<T>) -> Option<String> {
    let selection = term.selection.as_ref()?;
    let range = selection.to_range(term)?;
    let (first, last) = (range.start.line.0.max(term.topmost_line().0), range.end.line.0.min(term.bottommost_line().0));
    let end_of_line = term.columns() - 1;
    let mut text = String::new();
    for line in first..=last {
        let from = if range.is_block || line == range.start.line.0 { range.start.column.0 } else { 0 };
        let to = if range.is_block || line == range.end.line.0 { range.end.column.0 } else { end_of_line };
        let row = &term.grid()[Line(line)];
        let begun = text.len();
        for column in from..=to.min(end_of_line) {
            let cell = &row[Column(column)];
            if !cell.flags.intersects(Flags::WIDE_CHAR_SPACER | Flags::LEADING_WIDE_CHAR_SPACER) {
                text.push(if cell.c == '\t' { ' ' } else { cell.c });
                text.extend(cell.zerowidth().into_iter().flatten());
            }
        }
        let goes_on = !range.is_block && to >= end_of_line && row[Column(end_of_line)].flags.contains(Flags::WRAPLINE);
        if !goes_on {
            // Blanks that somebody has selected in the middle of a line are kept.
            let kept = text.get(begun..).map_or(0, |line| line.trim_end().len());
            if range.is_block || to >= end_of_line || line != last {
                text.truncate(begun + kept);
            }
            if line != last || selection.ty == SelectionType::Lines {
                text.push('\n');
            }
        }
    }
    Some(text)
}
