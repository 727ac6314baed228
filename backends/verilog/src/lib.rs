//! Design to Verilog-2005 and test bench
