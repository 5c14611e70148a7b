"""From labelled data to a labelled forecast; `forecast` is the page to read first."""
