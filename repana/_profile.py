def profile():
    pass
