"""The layers around the LSTM, and the backbone that all tasks share."""
