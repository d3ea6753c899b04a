"""`lawm report`: one self-contained HTML page of a run, of several, or of a folder of runs.

Files of a run are read as what they are, somebody's files: a damaged one costs a sentence on the
page, and no text of theirs reaches the page unescaped.
"""
