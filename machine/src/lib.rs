//! What a machine is: lifecycle, states, events, consoles, displays, media; a fake; a conformance suite.
