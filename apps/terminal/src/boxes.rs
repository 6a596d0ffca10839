//! Lines of tables (U+2500 to U+257F) and blocks (U+2580 to U+259F), drawn so that they meet their neighbours.
//!
//! Dashes, arcs, diagonals and double lines are the font's.

use crate::Cell;

/// Light and heavy arms of U+2500 to U+254B, each as left, right, up, down. Zeros alone: the font's.
#[rustfmt::skip]
const ARMS: [u16; 76] = [
    0x1100, 0x2200, 0x0011, 0x0022, 0, 0, 0, 0, 0, 0, 0, 0, 0x0101, 0x0201, 0x0102, 0x0202,
    0x1001, 0x2001, 0x1002, 0x2002, 0x0110, 0x0210, 0x0120, 0x0220, 0x1010, 0x2010, 0x1020, 0x2020, 0x0111, 0x0211, 0x0121, 0x0112,
    0x0122, 0x0221, 0x0212, 0x0222, 0x1011, 0x2011, 0x1021, 0x1012, 0x1022, 0x2021, 0x2012, 0x2022, 0x1101, 0x2101, 0x1201, 0x2201,
    0x1102, 0x2102, 0x1202, 0x2202, 0x1110, 0x2110, 0x1210, 0x2210, 0x1120, 0x2120, 0x1220, 0x2220, 0x1111, 0x2111, 0x1211, 0x2211,
    0x1121, 0x1112, 0x1122, 0x2121, 0x1221, 0x2112, 0x1212, 0x2221, 0x2212, 0x2122, 0x1222, 0x2222,
];

/// The same of U+2574 to U+257F.
#[rustfmt::skip]
const HALVES: [u16; 12] = [
    0x1000, 0x0010, 0x0100, 0x0001, 0x2000, 0x0020, 0x0200, 0x0002, 0x1200, 0x0012, 0x2100, 0x0021,
];

/// Quarters of U+2596 to U+259F: upper left, upper right, lower left, lower right.
const QUARTERS: [u8; 10] = [0b0010, 0b0001, 0b1000, 0b1011, 0b1001, 0b1110, 0b1101, 0b0100, 0b0110, 0b0111];

/// Draws a letter by rectangles of a cell: where, how large, and how much they cover. Whether it is one that is drawn so.
pub fn draw(c: char, cell: Cell, stroke: usize, mut fill: impl FnMut(usize, usize, usize, usize, u8)) -> bool {
    let Cell { width, height } = cell;
    let code = c as usize;
    let arms = match code {
        0x2500..=0x254B => ARMS.get(code - 0x2500),
        0x2574..=0x257F => HALVES.get(code - 0x2574),
        _ => None,
    };
    if let Some(arms) = arms.filter(|arms| **arms != 0) {
        draw_arms(*arms, cell, stroke, fill);
        return true;
    }
    let eighth = |of: usize, count: usize| (of * count + 4) / 8;
    match code {
        0x2580 => fill(0, 0, width, eighth(height, 4), 255),
        0x2581..=0x2588 => {
            let high = eighth(height, code - 0x2580);
            fill(0, height - high, width, high, 255);
        }
        0x2589..=0x258F => fill(0, 0, eighth(width, 0x2590 - code), height, 255),
        0x2590 => fill(eighth(width, 4), 0, width - eighth(width, 4), height, 255),
        0x2591..=0x2593 => fill(0, 0, width, height, [64, 128, 191][code - 0x2591]),
        0x2594 => fill(0, 0, width, eighth(height, 1).max(1), 255),
        0x2595 => {
            let wide = eighth(width, 1).max(1);
            fill(width - wide, 0, wide, height, 255);
        }
        0x2596..=0x259F => {
            let quarters = QUARTERS[code - 0x2596];
            let (middle, half) = (eighth(width, 4), eighth(height, 4));
            let places = [
                (0, 0, middle, half),
                (middle, 0, width - middle, half),
                (0, half, middle, height - half),
                (middle, half, width - middle, height - half),
            ];
            for (index, (x, y, wide, high)) in places.into_iter().enumerate() {
                if quarters & (0b1000 >> index) != 0 {
                    fill(x, y, wide, high, 255);
                }
            }
        }
        _ => return false,
    }
    true
}

fn draw_arms(arms: u16, cell: Cell, stroke: usize, mut fill: impl FnMut(usize, usize, usize, usize, u8)) {
    let weight = |shift: u16| usize::from(arms >> shift & 0xf);
    let thick = |weight: usize| match weight {
        0 => 0,
        1 => stroke,
        // As even or odd as the light one: then they share a middle.
        _ => stroke + 2 * stroke.div_ceil(2),
    };
    let [left, right, up, down] = [weight(12), weight(8), weight(4), weight(0)].map(thick);
    let start = |of: usize, thick: usize| of.saturating_sub(thick) / 2;
    // Arms reach through the thickest of those that cross them.
    let (across, along) = (left.max(right), up.max(down));
    let (middle_x, middle_y) = (start(cell.width, along), start(cell.height, across));
    let (middle_x_end, middle_y_end) = (middle_x + along.max(1), middle_y + across.max(1));
    if left > 0 {
        fill(0, start(cell.height, left), middle_x_end.max(cell.width / 2), left, 255);
    }
    if right > 0 {
        let from = if along > 0 { middle_x } else { cell.width / 2 };
        fill(from, start(cell.height, right), cell.width - from, right, 255);
    }
    if up > 0 {
        fill(start(cell.width, up), 0, up, if across > 0 { middle_y_end } else { cell.height / 2 }, 255);
    }
    if down > 0 {
        let from = if across > 0 { middle_y } else { cell.height / 2 };
        fill(start(cell.width, down), from, down, cell.height - from, 255);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CELL: Cell = Cell { width: 8, height: 18 };

    /// Which pixels are covered.
    fn drawn(c: char) -> Option<Vec<Vec<bool>>> {
        let mut pixels = vec![vec![false; CELL.width]; CELL.height];
        let is_drawn = draw(c, CELL, 1, |x, y, width, height, _| {
            for row in &mut pixels[y..y + height] {
                row[x..x + width].fill(true);
            }
        });
        is_drawn.then_some(pixels)
    }

    /// Which sides are reached: left, right, up, down.
    fn sides(c: char) -> [bool; 4] {
        let pixels = drawn(c).unwrap();
        let column = |x: usize| pixels.iter().any(|row| row[x]);
        [column(0), column(CELL.width - 1), pixels[0].contains(&true), pixels[CELL.height - 1].contains(&true)]
    }

    #[test]
    fn every_arm_reaches_its_side_and_no_other() {
        for c in '\u{2500}'..='\u{257f}' {
            if drawn(c).is_none() {
                continue;
            }
            let code = c as usize;
            let arms = if code < 0x2574 { ARMS[code - 0x2500] } else { HALVES[code - 0x2574] };
            assert_eq!(sides(c), [12, 8, 4, 0].map(|shift| arms >> shift & 0xf > 0), "{c}");
        }
        assert_eq!(sides('┌'), [false, true, false, true]);
        assert_eq!(sides('┤'), [true, false, true, true]);
        assert!(drawn('╔').is_none() && drawn('╭').is_none() && drawn('a').is_none());
    }

    #[test]
    fn blocks_cover_their_part() {
        let covered = |c| drawn(c).unwrap().iter().flatten().filter(|pixel| **pixel).count();
        let all = CELL.width * CELL.height;
        assert_eq!((covered('█'), covered('▀'), covered('▄'), covered('▌'), covered('▐')), (all, all / 2, all / 2, all / 2, all / 2));
        assert_eq!((covered('▖'), covered('▙'), covered('▞')), (all / 4, all * 3 / 4, all / 2));
    }
}
