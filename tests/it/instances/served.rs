//! Real OpenClaws that setup has connected, with the real CLI.
